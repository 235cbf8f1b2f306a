"""continue_from=: a run that begins where another has ended, with other settings."""

from __future__ import annotations

import shutil
from dataclasses import replace
from pathlib import Path

import pytest

from tests.small import small_config
from unet3d.errors import ConfigError, RunError
from unet3d.run_folder import RunFolder
from unet3d.training.checkpoint import TrainingProgress, read_progress
from unet3d.training.resume import resumed_config
from unet3d.training.run import run_training


def train(folder: Path, *overrides: str) -> tuple[str, TrainingProgress]:
    """The id and the progress of a training of its own."""
    before = {path.name for path in (folder / "runs").glob("*")}
    run_training(small_config(folder, "epochs=3", "schedule=cosine", *overrides))
    (run,) = {path.name for path in (folder / "runs").glob("*")} - before
    return run, read_progress(RunFolder(folder / "runs" / run))


def losses(progress: TrainingProgress) -> list[float]:
    return [record["metrics"]["train/loss"] for record in progress.history]


def test_it_goes_on_where_the_other_has_ended(tmp_path: Path) -> None:
    """With the same settings as if nothing had been; with another rate the next epoch differs."""
    _, whole = train(tmp_path)
    first, begun = train(tmp_path, "stop_after=2")
    assert losses(begun) == pytest.approx(losses(whole)[:2], rel=1e-5)
    same, same_progress = train(tmp_path, f"continue_from={first}")
    assert losses(same_progress) == pytest.approx(losses(whole), rel=1e-4)
    assert same_progress.best_epoch == 3  # the best weights here are its own
    assert (tmp_path / "runs" / same / "checkpoints" / "best.weights.h5").exists()
    _, other = train(tmp_path, f"continue_from={first}", "lr=0.1", "loss=focal")
    assert losses(other)[:2] == losses(begun)
    assert losses(other)[2] != pytest.approx(losses(whole)[2], rel=1e-3)
    again = read_progress(RunFolder(tmp_path / "runs" / first))
    assert losses(again) == losses(begun)  # which stays as it was

    with pytest.raises(ConfigError, match=f"{same} has trained 3 epochs already"):
        train(tmp_path, f"continue_from={same}")
    with pytest.raises(ConfigError, match="is no end of an epoch of 5 steps"):
        train(tmp_path, f"continue_from={first}", "steps_per_epoch=5")
    with pytest.raises(RunError, match="another network or optimizer|has shape"):
        train(tmp_path, f"continue_from={first}", "model.filters=8")


def test_it_resumes_without_the_other(tmp_path: Path) -> None:
    """It has a checkpoint of its own; the other run may have been removed since."""
    first, begun = train(tmp_path, "stop_after=1")
    second, _ = train(tmp_path, f"continue_from={first}", "stop_after=2")
    shutil.rmtree(tmp_path / "runs" / first)
    config = small_config(tmp_path, f"resume={second}")
    run_training(replace(resumed_config(config, [f"resume={second}"]), stop_after=None))
    ended = read_progress(RunFolder(tmp_path / "runs" / second))
    assert len(ended.history) == 3 and losses(ended)[:1] == losses(begun)


def test_what_cannot_be_is_one_line(tmp_path: Path) -> None:
    """Before the data are read."""
    missing = "0" * 32
    with pytest.raises(ConfigError, match=f"continue_from: {missing} is not a run with a check"):
        run_training(small_config(tmp_path, f"continue_from={missing}", "data.root=nowhere"))
    with pytest.raises(ConfigError, match="init: is not possible with continue_from"):
        small_config(tmp_path, f"continue_from={missing}", f"init={missing}")
