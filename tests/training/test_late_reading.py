"""Measurements read a step late: the same sums, the right step named, stops on which all agree."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from tests.small import small_config
from unet3d.distributed import progress as watched
from unet3d.distributed.worker import SINGLE_WORKER
from unet3d.errors import RunError, RunStopped
from unet3d.run_folder import run_folder
from unet3d.training import late_reading, loop
from unet3d.training.checkpoint import TrainingProgress
from unet3d.training.late_reading import MOST_STEPS, steps_between_readings
from unet3d.training.loop import run_epoch
from unet3d.training.measurements import Measurements
from unet3d.training.run_times import RunTimes
from unet3d.training.trace import StepTrace

STEPS = 10


class Device:
    """A step whose figures are as long on their way as nobody looks; `looked` has the order."""

    def __init__(self, losses: list[float], stops: int | None = None):
        self.losses, self.stops = losses, stops
        self.begun = 0
        self.looked: list[tuple[int, int]] = []  # (step from 1, steps begun by then)

    def __call__(self, images: Any, labels: Any, stop: bool) -> Measurements:
        self.begun += 1
        device, number = self, self.begun

        class Values:
            def __array__(self, *_: Any, **__: Any) -> np.ndarray:
                device.looked.append((number, device.begun))
                asked = device.stops is not None and number >= device.stops
                return np.array([device.losses[number - 1], asked, *[1.0] * 6])

        return Measurements(Values())


def training_of(tmp_path: Path, workers: int = 1) -> Any:
    return SimpleNamespace(
        config=small_config(tmp_path),
        stream=SimpleNamespace(
            steps_per_epoch=STEPS, failures=[], cases_of=lambda epoch, step: [f"case{step}"]
        ),
        targets=SimpleNamespace(names=("a", "b"), exclusive=False),
        state=SimpleNamespace(may_overflow=lambda: False),
        stop=SimpleNamespace(asked=False),
        folder=run_folder(tmp_path, "abc"),
        worker=replace(SINGLE_WORKER, workers=workers),
        times=RunTimes(),
    )


def epoch(training: Any, device: Device, between: int, progress: TrainingProgress) -> None:
    batches: Iterator[tuple[int, int]] = iter([(0, 0)] * STEPS)
    run_epoch(training, progress, device, batches, 1, StepTrace(Path(), 0), between)


@pytest.mark.parametrize("between", [1, 4, 16])
def test_sums_do_not_depend_on_when_they_are_read(tmp_path: Path, between: int) -> None:
    """All steps are read by the end of the epoch, in order, and to the last bit as at once."""
    losses = [0.1 * n + 1 / 3 for n in range(STEPS)]
    device, progress = Device(losses), TrainingProgress()
    epoch(training_of(tmp_path), device, between, progress)
    assert (progress.step, progress.epoch_loss) == (STEPS, sum(losses))
    assert progress.epoch_counts == [[STEPS, STEPS]] * 3
    assert [step for step, _ in device.looked] == list(range(1, STEPS + 1))


@pytest.mark.parametrize("between", [1, 4])
def test_the_device_has_a_step_to_compute_while_one_is_read(tmp_path: Path, between: int) -> None:
    """But for the last one of the epoch, each is looked at when a later one has begun."""
    device = Device([1.0] * STEPS)
    epoch(training_of(tmp_path), device, between, TrainingProgress())
    for step, begun in device.looked[:-1]:
        assert step < begun <= step + between


def test_watchers_see_what_the_device_has_done(tmp_path: Path) -> None:
    """A step that has only begun is no progress: a device that hangs would go unnoticed."""
    device, before = Device([1.0] * STEPS), watched.progress().steps
    seen = []

    class Watched(Device):
        def __call__(self, *arguments: Any) -> Measurements:
            seen.append(watched.progress().steps - before)
            return super().__call__(*arguments)

    device = Watched([1.0] * STEPS)
    epoch(training_of(tmp_path), device, 1, TrainingProgress())
    assert seen == [0, 0, *range(1, STEPS - 1)]
    assert watched.progress().steps - before == STEPS


@pytest.mark.parametrize(("bad", "between"), [(1, 1), (5, 1), (5, 4), (STEPS, 16)])
def test_a_loss_that_is_no_number_names_its_own_step(
    tmp_path: Path, bad: int, between: int
) -> None:
    """Though it is noticed later; of later steps, which are no numbers either, nothing is said."""
    losses = [1.0] * (bad - 1) + [np.nan] * (STEPS - bad + 1)
    device = Device(losses)
    with pytest.raises(RunError, match=f"became nan at step {bad}, on cases case{bad - 1};"):
        epoch(training_of(tmp_path), device, between, TrainingProgress())
    assert device.begun <= bad + between


@pytest.mark.parametrize(
    ("stops", "between", "last"), [(3, 1, 4), (3, 4, 4), (4, 4, 8), (10, 1, 10)]
)
def test_workers_stop_after_the_same_step(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, stops: int, between: int, last: int
) -> None:
    """The one that the readings say, whatever a worker itself knows; all steps are read by then."""
    saved = []

    def save(training: Any, progress: TrainingProgress) -> None:
        saved.append((progress.step, progress.epoch_loss))
        raise RunStopped("stopped", 143)

    monkeypatch.setattr(loop, "_save_and_stop", save)
    for knows in (False, True):
        training = training_of(tmp_path, workers=2)
        training.stop.asked = knows
        with pytest.raises(RunStopped):
            epoch(training, Device([1.0] * STEPS, stops), between, TrainingProgress())
    assert saved == [(last, float(last))] * 2


def test_readings_are_rarer_for_quick_steps_and_the_same_on_all_workers(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of a slow and a quick worker, both take what their mean gives."""
    training = training_of(tmp_path)
    training.strategy = None
    assert steps_between_readings(training, 3.0) == 1
    assert steps_between_readings(training, 0.02) == 5
    assert steps_between_readings(training, 1e-5) == MOST_STEPS
    monkeypatch.setattr(late_reading, "sum_over_workers", lambda *_: np.array([0.01 + 0.03]))
    pair = training_of(tmp_path, workers=2)
    pair.strategy = None
    assert [steps_between_readings(pair, own) for own in (0.01, 0.03)] == [5, 5]
