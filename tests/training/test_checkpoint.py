"""Checkpoints: whole or not at all, and never of another network."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pytest
import tensorflow as tf

from unet3d.errors import RunError
from unet3d.run_folder import RunFolder
from unet3d.training.checkpoint import (
    TrainingProgress,
    has_checkpoint,
    load_checkpoint,
    read_progress,
    save_checkpoint,
)


def variables() -> dict[str, tf.Variable]:
    return {"model/0": tf.Variable([1.0, 2.0]), "optimizer/0": tf.Variable(7, dtype=tf.int64)}


@pytest.fixture
def folder(tmp_path: Path) -> RunFolder:
    made = RunFolder(tmp_path)
    made.checkpoints.mkdir()
    return made


def test_round_trip(folder: RunFolder) -> None:
    """Values, dtypes and progress come back; nothing temporary is left."""
    progress = TrainingProgress(
        step=5, best=0.5, history=[{"epoch": 1, "time": 3, "metrics": {"a": 1.0}}]
    )
    assert not has_checkpoint(folder)
    save_checkpoint(folder, variables(), progress)
    assert has_checkpoint(folder)
    fresh = {name: tf.Variable(tf.zeros_like(v)) for name, v in variables().items()}
    assert load_checkpoint(folder, fresh) == read_progress(folder) == progress
    for name, variable in variables().items():
        np.testing.assert_array_equal(fresh[name].numpy(), variable.numpy())
    assert [file.name for file in folder.checkpoints.iterdir()] == ["last.npz"]


def test_missing_and_foreign_checkpoints_are_named(folder: RunFolder) -> None:
    """Each is one error with the path; the variables stay as they were."""
    with pytest.raises(RunError, match=r"last\.npz: there is no checkpoint"):
        load_checkpoint(folder, variables())
    save_checkpoint(folder, variables(), TrainingProgress())
    other = {"model/0": tf.Variable([0.0, 0.0])}
    with pytest.raises(RunError, match="another network or optimizer"):
        load_checkpoint(folder, other)
    larger = variables() | {"model/0": tf.Variable([0.0, 0.0, 0.0])}
    with pytest.raises(RunError, match="model/0 has shape"):
        load_checkpoint(folder, larger)
    np.testing.assert_array_equal(other["model/0"].numpy(), [0.0, 0.0])


def test_without_hard_links_the_former_checkpoint_is_moved(
    folder: RunFolder, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As on FAT; a kill between the two moves leaves the former one, which is then read."""

    def refuse(*_: object) -> None:
        raise PermissionError(1, "Operation not permitted")

    monkeypatch.setattr(os, "link", refuse)
    for step in (1, 2):
        save_checkpoint(folder, variables(), TrainingProgress(step=step))
    assert read_progress(folder).step == 2
    folder.last_checkpoint.unlink()
    assert read_progress(folder).step == 1
