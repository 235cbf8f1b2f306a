"""Checkpoints that are damaged, that cannot be written, or that would hold no numbers."""

from __future__ import annotations

import os
import resource
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import tensorflow as tf

from tests import REPOSITORY
from tests.faults.damage import flip_bit, replace_content
from tests.small import small_config
from unet3d.config.compose import compose_config
from unet3d.distributed.worker import SINGLE_WORKER
from unet3d.errors import ConfigError, RunError, StorageError
from unet3d.run_folder import RunFolder, run_folder
from unet3d.training.checkpoint import (
    TrainingProgress,
    load_checkpoint,
    read_progress,
    save_checkpoint,
)

LIMIT = 50_000  # bytes of a file, for a disk that is full


def variables() -> dict[str, tf.Variable]:
    return {"model/0000": tf.Variable(tf.zeros(30_000)), "optimizer/0000": tf.Variable(7)}


@pytest.fixture
def folder(tmp_path: Path) -> RunFolder:
    """A run with the checkpoints of steps 1 and 2, whose weights are all 1 and all 2."""
    made = RunFolder(tmp_path / "abc")
    made.checkpoints.mkdir(parents=True)
    for step in (1, 2):
        state = variables()
        state["model/0000"].assign(tf.fill(30_000, float(step)))
        save_checkpoint(made, state, TrainingProgress(step=step))
    return made


@contextmanager
def full_disk() -> Iterator[None]:
    """No file grows beyond LIMIT, which for a write is as a disk without room."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    handler = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (LIMIT, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
        signal.signal(signal.SIGXFSZ, handler)


def test_the_checkpoint_before_is_kept_and_used(
    folder: RunFolder, caplog: pytest.LogCaptureFixture
) -> None:
    """A damaged or missing newest one falls back to it, with one line that says so."""
    assert sorted(path.name for path in folder.checkpoints.iterdir()) == [
        "last.npz",
        "previous.npz",
    ]
    state = variables()
    assert load_checkpoint(folder, state).step == 2 and not caplog.records
    whole = folder.last_checkpoint.read_bytes()
    for damage in (
        lambda: flip_bit(folder.last_checkpoint, 0.3),
        lambda: replace_content(folder.last_checkpoint, whole[: len(whole) // 2]),
        lambda: replace_content(folder.last_checkpoint, b""),
        folder.last_checkpoint.unlink,
    ):
        damage()
        caplog.clear()
        assert load_checkpoint(folder, state).step == read_progress(folder).step == 1
        np.testing.assert_array_equal(state["model/0000"].numpy(), np.ones(30_000))
        line = caplog.records[0].getMessage()
        assert "last.npz: the checkpoint cannot be used (" in line and "\n" not in line
        assert line.endswith("going on from the one before it, previous.npz")
        replace_content(folder.previous_checkpoint, folder.previous_checkpoint.read_bytes())
        folder.last_checkpoint.write_bytes(whole)


def test_two_damaged_checkpoints_are_one_line_with_advice(folder: RunFolder) -> None:
    """And the variables stay as they were."""
    flip_bit(folder.last_checkpoint)
    flip_bit(folder.previous_checkpoint)
    state = variables()
    with pytest.raises(RunError) as caught:
        load_checkpoint(folder, state)
    line = str(caught.value)
    assert "last.npz: the checkpoint cannot be used (checksum" in line and "\n" not in line
    assert "previous.npz (checksum" in line and "backup, or start another run" in line
    assert not state["model/0000"].numpy().any()
    folder.previous_checkpoint.unlink()
    with pytest.raises(RunError, match="there is none before it"):
        read_progress(folder)


def test_a_checkpoint_of_an_earlier_version_is_read(folder: RunFolder) -> None:
    """Without a checksum, one generation alone; what is not numbers or not complete is named."""
    shutil.rmtree(folder.checkpoints)
    folder.checkpoints.mkdir()
    text = np.frombuffer(b'{"step": 9, "history": []}', dtype=np.uint8)
    arrays: dict[str, Any] = {name: np.asarray(value) for name, value in variables().items()}
    np.savez(folder.last_checkpoint, progress=text, **arrays)
    assert load_checkpoint(folder, variables()).step == 9
    np.savez(folder.last_checkpoint, **arrays)
    with pytest.raises(RunError, match="it holds no progress"):
        load_checkpoint(folder, variables())
    arrays["model/0000"] = np.full(30_000, np.nan, np.float32)
    np.savez(folder.last_checkpoint, progress=text, **arrays)
    with pytest.raises(RunError, match="model/0000 holds values that are not numbers"):
        load_checkpoint(folder, variables())


def test_a_full_disk_is_one_line_and_leaves_the_checkpoints(folder: RunFolder) -> None:
    """With the folder and what to do; once there is room, saving works again."""
    from unet3d.training.keep import keep_best_weights, keep_state

    files = {path: path.read_bytes() for path in folder.checkpoints.iterdir()}
    state: Any = SimpleNamespace(variables=variables)
    model = small_network()
    for keep in (
        lambda: keep_state(folder, state, TrainingProgress(step=3)),
        lambda: keep_best_weights(folder, model),
    ):
        with full_disk(), pytest.raises(StorageError) as caught:
            keep()
        line = str(caught.value)
        assert str(folder.path) in line and "File too large" in line and "\n" not in line
        assert "then go on with: python train.py resume=abc output_dir=" in line
        assert {path: path.read_bytes() for path in folder.checkpoints.iterdir()} == files
    keep_state(folder, state, TrainingProgress(step=3))
    assert read_progress(folder).step == 3
    keep_best_weights(folder, model)


def small_network() -> Any:
    from unet3d.models import build_model

    return build_model(small_config(Path("outputs")).model, channels=4, outputs=3, seed=0)


WRITE = """
import sys, numpy as np
from pathlib import Path
from unet3d.run_folder import RunFolder
from unet3d.training.checkpoint import TrainingProgress, save_checkpoint
folder, step = RunFolder(Path(sys.argv[1])), 2
while True:
    step += 1
    save_checkpoint(folder, {"model/0000": np.full(3_000_000, float(step))}, TrainingProgress(step))
    print(step, flush=True)
"""


def test_what_kills_leave_is_removed_on_resume(folder: RunFolder) -> None:
    """Of this version and of earlier ones; a kill at any moment leaves a whole checkpoint."""
    from unet3d.training.checkpoint import remove_leftovers

    for moment in range(4):
        command = [sys.executable, "-c", WRITE, str(folder.path)]
        process = subprocess.Popen(command, cwd=REPOSITORY, stdout=subprocess.PIPE, text=True)
        assert process.stdout is not None
        for _ in range(2 + moment):
            done = int(process.stdout.readline())
        process.kill()
        process.wait()
        found = read_progress(folder).step
        assert found in (done, done + 1)
    (folder.checkpoints / ".last.npz.4711.tmp").write_bytes(b"half")
    (folder.checkpoints / ".best.weights.h5").write_bytes(b"half")
    mine = folder.checkpoints / f".last.npz.tmp-{os.getpid()}-0123456789abcdef"
    mine.mkdir()  # of another machine, which may be at work
    remove_leftovers(folder)
    left = sorted(path.name for path in folder.checkpoints.iterdir())
    assert left == [mine.name, "last.npz", "previous.npz"]


def test_a_resume_that_fails_leaves_a_finished_run_finished(tmp_path: Path) -> None:
    """In the tracking store, where its checkpoints are damaged or its folder is not writable."""
    from unet3d.tracking.connection import connect
    from unet3d.tracking.run import start_run
    from unet3d.training.resume import resumed_config
    from unet3d.training.run import run_training

    overrides = ["tracking=mlflow", "tracking.system_metrics=false"]
    config = small_config(tmp_path, *overrides)
    connection = connect(config)
    assert connection is not None
    tracker, folder = start_run(config, connection)
    tracker.finish("FINISHED")
    folder.last_checkpoint.write_bytes(b"PK\x03\x04")
    for _ in range(2):
        resume = f"resume={folder.run_id}"
        with pytest.raises(RunError, match="last.npz: the checkpoint cannot be used"):
            run_training(resumed_config(small_config(tmp_path, *overrides, resume), [resume]))
        assert connection.client.get_run(folder.run_id).info.status == "FINISHED"


@pytest.mark.parametrize("where", ["weights", "validation"])
def test_what_is_not_a_number_is_not_kept(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, where: str
) -> None:
    """After the last step, when no loss is computed any more: no best, no checkpoint, an error."""
    from unet3d.training import loop
    from unet3d.training.run import run_training

    make_train_step = loop.make_train_step

    def diverging(state: Any, *others: Any, **options: Any) -> Any:
        step = make_train_step(state, *others, **options)

        def then_infinite(*batch: Any) -> Any:
            measured = step(*batch)
            variable = {
                "weights": state.model.trainable_variables[-1],
                "validation": state.model.trainable_variables[0],
            }[where]
            value = 1e37 if where == "validation" else np.nan
            variable.assign(tf.fill(variable.shape, value))
            return measured

        return then_infinite

    monkeypatch.setattr(loop, "make_train_step", diverging)
    what = r"val/loss became (nan|inf)" if where == "validation" else "weights became NaN or inf"
    message = f"{what}.* in epoch 1, and nothing of it was kept; try a smaller lr .*no checkpoint"
    settings = ("model.norm=none", "steps_per_epoch=1")
    with pytest.raises(RunError, match=message):
        run_training(small_config(tmp_path, *settings))
    (run,) = (tmp_path / "runs").iterdir()
    assert list((run / "checkpoints").iterdir()) == []


def test_the_optimizers_figures_count_as_the_weights(tmp_path: Path) -> None:
    """An infinite second moment would stop a weight for ever, without a word."""
    from unet3d.training.keep import make_finite_check

    state = variables() | {"optimizer/0001": tf.Variable([1.0, 2.0])}
    finite = make_finite_check(SimpleNamespace(variables=lambda: state))  # type: ignore[arg-type]
    assert finite()
    state["optimizer/0001"].assign([1.0, np.inf])
    assert not finite()


def test_an_overflow_is_the_loss_scales_until_it_is_at_its_end(tmp_path: Path) -> None:
    """In float16 a step without a finite loss is skipped, and left out of the epoch's mean."""
    from unet3d.training.loop import run_epoch
    from unet3d.training.measurements import Measurements
    from unet3d.training.run_times import RunTimes
    from unet3d.training.state import LossScale, TrainState
    from unet3d.training.trace import StepTrace

    losses = [2.0, np.nan, 4.0]
    scale = LossScale()
    state = TrainState(None, None, scale)
    stream = SimpleNamespace(steps_per_epoch=3, failures=[], cases_of=lambda *_: ["a"])
    training: Any = SimpleNamespace(
        config=small_config(tmp_path),
        stream=stream,
        targets=SimpleNamespace(names=("a", "b"), exclusive=False),
        state=state,
        stop=SimpleNamespace(asked=False),
        folder=run_folder(tmp_path, "abc"),
        worker=SINGLE_WORKER,
        times=RunTimes(),
    )

    def step(images: int, labels: int, stop: bool) -> Measurements:
        return Measurements.of(losses[images], False, np.ones((3, 2)))

    batches = [(index, index) for index in range(3)]
    progress = TrainingProgress()
    run_epoch(training, progress, step, iter(batches), 1, StepTrace(tmp_path, 0))
    assert (progress.step, progress.epoch_loss, progress.epoch_skipped) == (3, 6.0, 1)
    assert progress.epoch_counts == [[2.0, 2.0]] * 3
    scale.factor.assign(1.0)
    with pytest.raises(RunError, match="the loss became nan at step 2, on cases a; try a smaller"):
        run_epoch(training, TrainingProgress(), step, iter(batches), 1, StepTrace(tmp_path, 0))


@pytest.mark.parametrize(
    "override",
    [
        "lr=inf",
        "lr=1e400",
        "lr=-inf",
        "lr=nan",
        "lr=1e39",
        "data.spacing=[1,inf,1]",
        "data.spacing=[1,1,nan]",
        "optimizer.clip_norm=inf",
        "schedule.warmup_epochs=nan",
        "parallel.hang_timeout=inf",
    ],
)
def test_settings_are_finite_numbers(override: str) -> None:
    """Whatever the setting: also in a list, and what float32 would make infinite."""
    with pytest.raises(ConfigError, match=r"it must be a finite number"):
        compose_config(["experiment=smoke", override])
