"""The files of a run: where earlier versions put them, so that their runs stay usable."""

from __future__ import annotations

from pathlib import Path

from tests import REPOSITORY
from unet3d.run_folder import RunFolder, run_folder


def test_names_on_disk_stay() -> None:
    """A run that is on disk can be resumed, predicted with and evaluated by later versions."""
    folder = run_folder("outputs", "abc")
    names = {
        "config": "config.yaml",
        "description": "dataset.json",
        "log": "train.log",
        "split": "split.json",
        "state": "state.json",
        "last_checkpoint": "checkpoints/last.npz",
        "previous_checkpoint": "checkpoints/previous.npz",
        "best_weights": "checkpoints/best.weights.h5",
        "learning_curves": "figures/learning_curves.png",
        "validation_overlays": "figures/validation.png",
        "test": "test",
    }
    for name, expected in names.items():
        assert getattr(folder, name) == Path("outputs/runs/abc") / expected, name
    assert folder == RunFolder(Path("outputs/runs/abc")) and folder.run_id == "abc"


def test_file_names_have_one_owner() -> None:
    """No other file of the package spells them, or a change of one would go unnoticed."""
    package = REPOSITORY / "unet3d"
    literals = ('"config.yaml"', '"train.log"', '"checkpoints"', "best.weights.h5", "last.npz")
    owners = {"run_folder.py"}
    found = [
        (str(path), literal)
        for path in package.rglob("*.py")
        if path.name not in owners
        for literal in literals
        if literal in path.read_text()
    ]
    assert found == []
