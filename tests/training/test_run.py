"""Trainings in this process, through every setting that changes what is computed."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest
import tensorflow as tf

from tests.small import small_config
from unet3d.config.compose import stored_config
from unet3d.distributed.job_folder import JobFolder
from unet3d.distributed.worker import WorkerContext
from unet3d.errors import ConfigError, RunError
from unet3d.run_folder import RunFolder
from unet3d.training.checkpoint import read_progress
from unet3d.training.resume import keep_patch, resumed_config
from unet3d.training.run import run_training


@pytest.fixture(autouse=True)
def policy() -> Iterator[None]:
    """Mixed precision is a global setting of Keras: put it back."""
    yield
    keras.config.set_dtype_policy("float32")


def train(folder: Path, *overrides: str) -> tuple[dict[str, np.ndarray], list[dict[str, Any]]]:
    """Train; the variables and the history in the last checkpoint of the newest run."""
    run_training(small_config(folder, *overrides))
    newest = max((folder / "runs").iterdir(), key=lambda run: run.stat().st_mtime)
    with np.load(newest / "checkpoints" / "last.npz") as file:
        arrays = {name: file[name] for name in file.files}
    progress = json.loads(arrays.pop("progress").tobytes().decode())
    return arrays, progress["history"]


def losses(history: list[dict[str, Any]]) -> list[float]:
    return [record["metrics"]["train/loss"] for record in history]


@pytest.mark.parametrize(
    "overrides",
    [
        ("model=resunet", "model.filters=4", "model.depth=2"),
        ("data.target=classes", "loss=dice_ce"),
        ("data.target=classes", "loss=focal", "precision=mixed_bfloat16"),
        ("data.patch=null", "augment=full", "loss=dice"),
        ("precision=mixed_bfloat16", "optimizer.clip_norm=1"),
        ("loss=tversky", "optimizer=sgd", "schedule=cosine", "epochs=2", "val_every=2"),
        ("loss=focal", "optimizer=adamw", "model.norm=group", "optimizer.ema=0.9"),
        ("data.spacing=[6,6,6]", "data.folds=2", "data.fold=1", "data.dtype=bfloat16"),
        ("data.regions={lesion:[1,2,3]}", "augment=light"),
    ],
)
def test_every_kind_of_training_runs(tmp_path: Path, overrides: tuple[str, ...]) -> None:
    """Each loss, precision, target and network goes from data to validated weights."""
    _, history = train(tmp_path, *overrides)
    last = history[-1]["metrics"]
    assert np.isfinite(last["train/loss"]) and np.isfinite(last["val/loss"])
    assert 0 <= last["val/dice"] <= 1
    regions = [n for n in last if n.startswith("val/dice_") and n != "val/dice_background"]
    assert len(regions) in (1, 3)
    assert last["val/dice"] == pytest.approx(np.mean([last[name] for name in regions]))
    assert list(tmp_path.glob("runs/*/checkpoints/best.weights.h5"))
    assert list(tmp_path.glob("runs/*/figures/validation.png"))


@pytest.mark.skipif(bool(tf.config.list_physical_devices("GPU")), reason="this machine has a GPU")
def test_float16_without_a_gpu_is_named(tmp_path: Path) -> None:
    """TensorFlow pools in float16 on GPUs only: that is said before a run is made."""
    with pytest.raises(ConfigError, match="precision: mixed_float16 needs a GPU"):
        train(tmp_path, "precision=mixed_float16")
    assert not (tmp_path / "runs").exists()


def test_same_seed_same_losses(tmp_path: Path) -> None:
    """A run is a function of its settings; another seed is another run."""
    common = ("epochs=2", "augment=full", "steps_per_epoch=3")
    one, first = train(tmp_path, *common)
    two, second = train(tmp_path, *common, "data.workers=1")
    _, other = train(tmp_path, *common, "seed=1")
    assert losses(first) == losses(second)
    assert losses(first) != losses(other)
    for name in one:
        np.testing.assert_array_equal(one[name], two[name])


def test_accumulation_does_not_change_the_update(tmp_path: Path) -> None:
    """A batch computed in two parts gives the weights that it gives in one."""
    common = ("model.norm=none", "steps_per_epoch=3", "optimizer=sgd", "lr=0.01")
    whole, _ = train(tmp_path, *common)
    parts, _ = train(tmp_path, *common, "accumulate=2")
    for name in whole:
        np.testing.assert_allclose(whole[name], parts[name], atol=1e-5)


def test_infinite_loss_names_step_cases_and_advice(tmp_path: Path) -> None:
    """A run that diverges stops, and says where and what to try."""
    with pytest.raises(RunError, match=r"at step \d+, on cases PHANTOM_.*smaller lr"):
        train(tmp_path, "optimizer=sgd", "lr=1e30", "model.norm=none", "steps_per_epoch=20")


def test_patience_stops_a_run_that_does_not_improve(tmp_path: Path) -> None:
    """With a learning rate of almost 0, validation 2 is not better than validation 1."""
    _, history = train(tmp_path, "lr=1e-30", "model.norm=none", "patience=1", "epochs=6")
    assert len(history) == 2


def test_settings_at_odds_with_the_data_fail_before_a_run_is_made(tmp_path: Path) -> None:
    """A patch larger than the volumes and a label that is not there leave no run behind."""
    with pytest.raises(ConfigError, match="data.patch: .* is larger than the volumes"):
        train(tmp_path, "data.patch=[64,64,64]")
    with pytest.raises(ConfigError, match="data.regions.x: label 9 is not a foreground label"):
        train(tmp_path, "data.regions={x:[9]}")
    assert not (tmp_path / "runs").exists()


def test_resume_of_a_finished_run_trains_on(tmp_path: Path) -> None:
    """More epochs on a finished run train only those; another lr is refused."""
    train(tmp_path)
    (run,) = (tmp_path / "runs").iterdir()
    resume = ("epochs=2", f"resume={run.name}")
    with pytest.raises(RunError, match="lr: 1.0 is not possible with resume=.*, which has 0.001"):
        resumed_config(small_config(tmp_path, *resume, "lr=1"), [*resume, "lr=1"])
    run_training(resumed_config(small_config(tmp_path, *resume), [*resume]))
    with np.load(run / "checkpoints" / "last.npz") as file:
        progress = json.loads(file["progress"].tobytes().decode())
    assert [record["epoch"] for record in progress["history"]] == [1, 2]


def test_a_part_of_a_run_has_the_schedule_of_all(tmp_path: Path) -> None:
    """stop_after: the same losses and rates as without, up to there; resume goes on to the end."""
    run_training(small_config(tmp_path / "whole", "epochs=3"))
    run_training(small_config(tmp_path / "part", "epochs=3", "stop_after=2"))
    (whole,) = (tmp_path / "whole" / "runs").iterdir()
    (part,) = (tmp_path / "part" / "runs").iterdir()
    names = ("train/loss", "train/lr", "val/dice")

    def figures(folder: Path) -> list[list[float]]:
        history = read_progress(RunFolder(folder)).history
        return [[epoch["metrics"][name] for name in names] for epoch in history]

    assert figures(part) == figures(whole)[:2]
    typed = [f"resume={part.name}"]
    run_training(resumed_config(small_config(tmp_path / "part", *typed), typed))
    assert len(figures(part)) == 3


def test_an_automatic_patch_is_recorded_and_kept(tmp_path: Path) -> None:
    """The sizes that memory allows are in config.yaml, and later attempts do not choose again."""
    train(tmp_path, "data.patch=auto", "data.patch_memory=0.002")
    (run,) = (tmp_path / "runs").iterdir()
    chosen = stored_config(run / "config.yaml").data.patch
    assert all(type(size) is int and size % 4 == 0 for size in chosen)
    log = (run / "train.log").read_text()
    assert log.count(f"data.patch=auto: {'x'.join(map(str, chosen))} voxels") == 1
    again = small_config(tmp_path, "data.patch=auto", f"resume={run.name}", "epochs=2")
    # As of a sweep's trial that was lost, on a larger machine.
    worker = WorkerContext(job_folder=JobFolder(tmp_path))
    run_training(again, worker)
    assert keep_patch(again).data.patch == chosen
    log = (run / "train.log").read_text()
    assert log.count("data.patch=auto") == 1 and "epoch 2/2" in log
    with pytest.raises(ConfigError, match="data.patch: auto finds none: even .* smaller batch"):
        train(tmp_path, "data.patch=auto", "data.patch_memory=1e-6")
    assert len(list((tmp_path / "runs").iterdir())) == 1
