"""The order of events in the loop; steps and validation results are scripted where that is all."""

from __future__ import annotations

import signal
from collections.abc import Callable, Iterator
from dataclasses import replace
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.small import small_config
from unet3d.config.schema import Config
from unet3d.distributed.stop import StopRequest
from unet3d.distributed.worker import SINGLE_WORKER
from unet3d.errors import RunError, RunStopped, TrialPruned
from unet3d.run_folder import RunFolder
from unet3d.tracking.tracker import NoTracker
from unet3d.training import loop
from unet3d.training.checkpoint import TrainingProgress, read_progress
from unet3d.training.epoch_times import EpochTimes
from unet3d.training.loop import Training, distributed_batches, fit
from unet3d.training.measurements import Measurements
from unet3d.training.setup import Setup, make_setup
from unet3d.training.validate import CaseResult

Step = Callable[..., Measurements]


class Records(NoTracker):
    """A tracker that keeps the epochs it was given."""

    def __init__(self) -> None:
        self.epochs: list[int] = []

    def log_epoch(self, record: dict[str, Any]) -> None:
        self.epochs.append(record["epoch"])


@pytest.fixture(scope="module")
def setup(tmp_path_factory: pytest.TempPathFactory) -> Setup:
    """Four phantoms, two steps an epoch and a network of a few weights."""
    folder = tmp_path_factory.mktemp("loop")
    small = ("model.filters=2", "model.depth=1", "data.patch=[8,8,8]", "steps_per_epoch=2")
    return make_setup(small_config(folder, *small), SINGLE_WORKER)


def training_in(folder: Path, setup: Setup, **settings: Any) -> Training:
    """A training with some settings changed that its setup does not depend on."""
    run = RunFolder(folder)
    run.checkpoints.mkdir()
    config: Config = replace(setup.config, **settings)
    return Training(
        **{**vars(setup), "config": config}, tracker=Records(), folder=run, stop=StopRequest()
    )


def scripted_step(losses: list[float], after: Callable[[int], None] = lambda step: None) -> Any:
    """A make_train_step whose step n has losses[n], or the last; after(n) runs in each step."""
    steps = iter(range(10**6))

    def step(images: Any, labels: Any, stop: bool) -> Measurements:
        number = next(steps)
        after(number)
        return Measurements.of(losses[min(number, len(losses) - 1)], stop, np.ones((3, 3)))

    return lambda *arguments, **options: step


def script(monkeypatch: pytest.MonkeyPatch, dice: list[float], step: Any = None) -> None:
    """Validation n has dice[n], and the steps are those of `step`, by default with a loss of 1."""
    values = iter(dice)

    class Scripted:
        def __init__(self, setup: Setup):
            pass

        def results(self, cases: list[str]) -> Iterator[list[CaseResult]]:
            for case in cases:
                yield [CaseResult(case, 0.5, np.full(3, next(values)))]

    monkeypatch.setattr(loop, "Validation", Scripted)
    monkeypatch.setattr(loop, "make_train_step", step or scripted_step([1.0]))


def test_validations_without_improvement_stop_the_run(
    tmp_path: Path, setup: Setup, monkeypatch: pytest.MonkeyPatch
) -> None:
    """patience counts validations since the best one, and starts again at a better one."""
    script(monkeypatch, [0.3, 0.2, 0.4, 0.4, 0.1, 0.9])
    training = training_in(tmp_path, setup, epochs=9, patience=2)
    progress = fit(training, TrainingProgress())
    assert [record["metrics"]["val/dice"] for record in progress.history] == pytest.approx(
        [0.3, 0.2, 0.4, 0.4, 0.1]
    )
    assert (progress.best, progress.best_epoch) == (pytest.approx(0.4), 3)


def test_validation_every_so_many_epochs_and_after_the_last(
    tmp_path: Path, setup: Setup, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With val_every=2 of 5 epochs: 2, 4 and the last; every epoch is recorded once, in order."""
    script(monkeypatch, [0.1, 0.2, 0.3])
    training = training_in(tmp_path, setup, epochs=5, val_every=2)
    progress = fit(training, TrainingProgress())
    validated = [r["epoch"] for r in progress.history if "val/dice" in r["metrics"]]
    assert validated == [2, 4, 5]
    assert isinstance(training.tracker, Records) and training.tracker.epochs == [1, 2, 3, 4, 5]


def test_the_best_weights_are_kept_only_where_validation_improves(
    tmp_path: Path, setup: Setup, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The file holds the weights of epoch 2, the best, and not those of a later epoch."""
    weight = setup.state.model.trainable_variables[0]

    def mark(step: int) -> None:  # a weight holds the number of the epoch, from 1
        weight.assign(np.full(weight.shape, 1 + step // 2))

    script(monkeypatch, [0.3, 0.6, 0.6, 0.5], scripted_step([1.0], mark))
    fit(training_in(tmp_path, setup, epochs=4), TrainingProgress())
    assert float(weight.numpy().max()) == 4
    setup.state.model.load_weights(RunFolder(tmp_path).best_weights)
    np.testing.assert_array_equal(weight.numpy(), 2)


def test_an_epochs_metrics_are_of_its_own_steps(
    tmp_path: Path, setup: Setup, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The sums over steps start again from 0 with each epoch, and are 0 in its checkpoint."""
    script(monkeypatch, [0.1, 0.1], scripted_step([1.0, 3.0, 10.0, 20.0]))
    progress = fit(training_in(tmp_path, setup, epochs=2), TrainingProgress())
    losses = [record["metrics"]["train/loss"] for record in progress.history]
    assert losses == [2, 15]
    kept = read_progress(RunFolder(tmp_path))
    assert (kept.epoch_loss, kept.epoch_counts, kept.step) == (0, None, 4)


def test_a_stop_request_saves_and_says_how_to_resume(
    tmp_path: Path, setup: Setup, monkeypatch: pytest.MonkeyPatch
) -> None:
    """In the middle of an epoch; the resumed run ends with the mean loss of all its steps."""
    training = training_in(tmp_path, setup, epochs=1)
    training = replace(training, stream=replace(setup.stream, steps_per_epoch=4))

    def interrupt(step: int) -> None:
        if step == 2:  # which is the last
            training.stop.receive(signal.SIGTERM, None)

    script(monkeypatch, [], scripted_step([1.0, 3.0, 10.0], interrupt))
    with pytest.raises(RunStopped, match=f"at step 3, .*train.py resume={tmp_path.name}") as error:
        fit(training, TrainingProgress())
    assert error.value.exit_code == 128 + signal.SIGTERM
    progress = read_progress(RunFolder(tmp_path))
    assert (progress.step, progress.epoch_loss, progress.history) == (3, 14, [])
    script(monkeypatch, [0.1], scripted_step([20.0]))
    fit(replace(training, stop=StopRequest()), progress)
    assert [record["metrics"]["train/loss"] for record in progress.history] == [8.5]


def test_a_stop_amid_an_epoch_saves_the_mean_of_the_replicas_statistics(
    tmp_path: Path, setup: Setup, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Else the resumed run would validate with the batch statistics of the chief's replica."""
    training = training_in(tmp_path, setup, epochs=1)
    done: list[str] = []
    monkeypatch.setattr(loop, "make_statistics_mean", lambda *_: lambda: done.append("mean"))
    monkeypatch.setattr(loop, "keep_state", lambda *_: done.append("saved"))
    stop = lambda step: training.stop.receive(signal.SIGTERM, None)  # noqa: E731
    script(monkeypatch, [], scripted_step([1.0], stop))
    with pytest.raises(RunStopped):
        fit(training, TrainingProgress())
    assert done == ["mean", "saved"]


def test_a_stop_request_during_validation_validates_again_later(
    tmp_path: Path, setup: Setup, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The epoch's steps are saved; the resumed run has only its validation left."""
    training = training_in(tmp_path, setup, epochs=1)

    def interrupt(step: int) -> None:
        if step == 1:  # the epoch's last step
            training.stop.receive(signal.SIGTERM, None)

    script(monkeypatch, [], scripted_step([1.0], interrupt))
    with pytest.raises(RunStopped, match="at step 2"):
        fit(training, TrainingProgress())
    progress = read_progress(RunFolder(tmp_path))
    assert (progress.step, progress.history) == (2, [])
    script(monkeypatch, [0.7], lambda *arguments, **options: None)  # no step is left to call
    assert fit(replace(training, stop=StopRequest()), progress).best == pytest.approx(0.7)


def test_a_pruned_trial_is_saved_too(
    tmp_path: Path, setup: Setup, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A sweep that ends a trial early gets another exception than a signal does."""
    training = training_in(tmp_path, setup, epochs=2)
    training.stop.pruned = True
    script(monkeypatch, [])
    with pytest.raises(TrialPruned, match="at step 1"):
        fit(training, TrainingProgress())
    assert read_progress(RunFolder(tmp_path)).step == 1


@pytest.mark.parametrize("loss", [np.nan, np.inf])
def test_a_loss_that_is_not_finite_names_step_and_cases(
    tmp_path: Path, setup: Setup, monkeypatch: pytest.MonkeyPatch, loss: float
) -> None:
    """Step 4, the second one of epoch 2, and the cases that were in its batch."""
    script(monkeypatch, [0.1], scripted_step([1.0, 1.0, 1.0, loss]))
    cases = ", ".join(setup.stream.cases_of(1, 1))
    with pytest.raises(RunError, match=f"the loss became {loss} at step 4, on cases {cases};"):
        fit(training_in(tmp_path, setup, epochs=3), TrainingProgress())


def test_repeat_batch_is_the_first_batch_each_step(tmp_path: Path, setup: Setup) -> None:
    """Whatever the step, a resumed one too; without it, batches differ."""
    expected = [array.numpy() for array in next(iter(setup.stream.dataset(0, 1)))]

    def batches(first_step: int, repeat: bool) -> list[list[np.ndarray]]:
        config = replace(setup.config, repeat_batch=repeat, epochs=10)
        training = Training(
            **{**vars(setup), "config": config},
            tracker=Records(),
            folder=RunFolder(tmp_path),
            stop=StopRequest(),
        )
        found = islice(distributed_batches(training, first_step), 3)
        return [[array.numpy() for array in batch] for batch in found]

    for first_step in (0, 7):
        for images, labels in batches(first_step, repeat=True):
            np.testing.assert_array_equal(images, expected[0])
            np.testing.assert_array_equal(labels, expected[1])
    images = [batch[0] for batch in batches(0, repeat=False)]
    np.testing.assert_array_equal(images[0], expected[0])
    assert not np.array_equal(images[0], images[1])


def test_speed_is_of_the_steps_alone() -> None:
    """Ten steps in 2 s, a quarter of it waiting; replicas and a baseline add their own metrics."""
    times = EpochTimes(start=100.0, waiting=0.5, steps=10, end=102.0)
    assert times.metrics(4) == {
        "perf/step_ms": 200,
        "perf/patches_per_s": 20,
        "perf/data_wait_pct": 25,
    }
    more = times.metrics(4, replicas=2, reduce_ms=50, baseline=16)
    assert more["perf/patches_per_s_replica"] == 10
    assert more["perf/allreduce_pct"] == 25
    assert (more["perf/speedup"], more["perf/scaling_efficiency"]) == (1.25, 0.625)
    assert EpochTimes().metrics(4) == {}
