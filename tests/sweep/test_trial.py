"""What makes two trials the same, and how they are named."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import pytest

from tests.small import small_config
from unet3d.sweep.trial import Trial, make_name, varied


def trial(tmp_path: Path, *overrides: str, differs: dict[str, str] | None = None) -> Trial:
    return Trial(3, overrides, differs or {}, small_config(tmp_path, *overrides))


@pytest.mark.parametrize(
    ("overrides", "same"),
    [
        (["threads=1", "data.workers=3", "data.prefetch=1"], True),
        (["tracking.experiment=other", "parallel.cpus_per_trial=2"], True),
        (["parallel=data", "nodes=2"], True),  # replicas compute what one computes
        (["lr=2e-3"], False),
        (["epochs=2"], False),
        (["model.norm=group"], False),
        (["parallel=data", "nodes=2", "parallel.lr_scaling=linear"], False),
    ],
)
def test_key_follows_from_what_the_result_depends_on(
    tmp_path: Path, overrides: list[str], same: bool
) -> None:
    """A trial that ran is not run again for where it runs, and is for what it computes."""
    assert (trial(tmp_path, *overrides).key == trial(tmp_path).key) is same


def test_key_does_not_depend_on_the_output_folder(tmp_path: Path) -> None:
    """The same sweep may be moved to another disk."""
    moved = trial(tmp_path)
    data = dataclasses.replace(moved.config.data, store="elsewhere")
    config = dataclasses.replace(moved.config, output_dir="elsewhere", data=data)
    assert dataclasses.replace(moved, config=config).key == trial(tmp_path).key


def test_names_are_short_and_unambiguous(tmp_path: Path) -> None:
    """The last word of each key, unless two keys end alike; sampled numbers in four digits."""
    differs = {"lr": "0.0044303752", "model.norm": "batch"}
    assert trial(tmp_path, differs=differs).name == "lr=0.00443, norm=batch"
    alike = {"model.name": "a", "loss.name": "b"}
    assert trial(tmp_path, differs=alike).name == "model.name=a, loss.name=b"
    assert trial(tmp_path).name == "trial 3"


def test_command_is_of_one_training(tmp_path: Path) -> None:
    """What sets the sweep or the place is left out; what a shell would take apart is quoted."""
    one = trial(tmp_path, "lr=0.1", "data.patch=[16,16,16]", "parallel=data", "nodes=2")
    assert one.command == "python train.py lr=0.1 'data.patch=[16,16,16]'"


def test_what_a_sweep_varies(tmp_path: Path) -> None:
    """A key that some trials do not have differs too; the name is the same for the same sweep."""
    lists = [["a=1", "b=2", "+c=1"], ["a=1", "b=3"]]
    assert varied(lists) == ["b", "c"]
    assert make_name(["b", "m.c"], "x") == make_name(["b", "m.c"], "x")
    assert make_name(["b", "m.c"], "x") != make_name(["b", "m.c"], "y")
    assert make_name(["b", "m.c"], "x").startswith("b-c-")
