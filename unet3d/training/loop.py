"""The one loop: steps, validation, checkpoint, record; the same for every way to parallelise."""

from __future__ import annotations

import logging
import math
import time
from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import dataclass, field
from typing import Any, NoReturn

import keras
import numpy as np
import tensorflow as tf

from unet3d.config.command_line import resume_command
from unet3d.distributed.all_reduce import time_all_reduce
from unet3d.distributed.progress import FIRST_STEP, SAVING, STEP, VALIDATION, begin
from unet3d.distributed.stop import StopRequest
from unet3d.distributed.strategy import sum_over_workers
from unet3d.errors import RunStopped, TrialPruned, TrialRegrouped
from unet3d.progress_bars import epoch_bar
from unet3d.run_folder import RunFolder
from unet3d.sampling.patches import PatchStream
from unet3d.tracking.tracker import Tracker
from unet3d.training.batches import distributed_batches
from unet3d.training.case_scores import write_case_scores
from unet3d.training.checkpoint import TrainingProgress
from unet3d.training.energy import EnergyMeter, energy_meter
from unet3d.training.epoch_times import EpochTimes
from unet3d.training.keep import (
    fail_on_state,
    keep_best_weights,
    keep_state,
    make_finite_check,
    storage_errors,
)
from unet3d.training.late_reading import LateReading, mean_dice, steps_between_readings
from unet3d.training.measurements import Measurements
from unet3d.training.own_metrics import columns
from unet3d.training.peak_memory import PeakMemory
from unet3d.training.run_times import RunTimes
from unet3d.training.setup import Setup
from unet3d.training.state import make_statistics_mean
from unet3d.training.step import make_train_step
from unet3d.training.trace import StepTrace
from unet3d.training.validate import CaseResult, Validation, gather, mean_metrics

log = logging.getLogger(__name__)
NOT_NUMBERS = "weights became NaN or infinite"


@dataclass(frozen=True)
class Training(Setup):
    """What the loop works with: the setup, and where it is recorded."""

    tracker: Tracker
    folder: RunFolder
    stop: StopRequest
    times: RunTimes = field(default_factory=RunTimes)
    memory: PeakMemory = field(default_factory=PeakMemory)


def fit(training: Training, progress: TrainingProgress) -> TrainingProgress:
    """Train from `progress` to the last epoch, or to an early stop.

    Raises RunStopped after a signal, RunError on a loss or weights that are not numbers,
    StorageError where the run's folder cannot be written, and DataError for a damaged store.
    """
    config, strategy, state, times = (
        training.config,
        training.strategy,
        training.state,
        training.times,
    )
    with times.measure("start"):
        begin(FIRST_STEP)
        training.memory.begin()
        train_step = make_train_step(state, config, training.targets, strategy, xla=training.xla)
        average_statistics = make_statistics_mean(state, strategy)
        finite = make_finite_check(state)
        validation = Validation(training)
        batches = distributed_batches(training, progress.step)
    with times.measure("allreduce"):
        reduce_ms = time_all_reduce(state.model, strategy, config.parallel)
    traced_steps = config.profile_steps if training.worker.chief else 0
    training.stop.deferred = True  # from here on a signal waits for the end of a step
    between = 1
    with (
        closing(StepTrace(training.folder.trace, traced_steps)) as trace,
        closing(_energy(training, progress)) as energy,
    ):
        while len(progress.history) < config.last_epoch:
            epoch = len(progress.history) + 1
            spent = run_epoch(training, progress, train_step, batches, epoch, trace, between)
            times.count_all_reduce(spent.steps * reduce_ms / 1000)
            with times.measure("step"):
                if spent.steps:
                    between = steps_between_readings(training, spent.seconds / spent.steps)
                if average_statistics:
                    average_statistics()
                if not finite():
                    fail_on_state(config, training.folder, NOT_NUMBERS, epoch)
            metrics = _epoch_metrics(training, progress, spent, reduce_ms)
            if epoch % config.val_every == 0 or epoch == config.epochs:
                with times.measure("validate"):
                    metrics |= _validate(training, progress, validation, epoch)
            metrics |= training.memory.metrics() | energy.metrics() | times.metrics()
            _close_epoch(training, progress, epoch, metrics)
            if config.patience and progress.since_best >= config.patience:
                log.info(
                    "stopping early: no better val/dice in %d validations", progress.since_best
                )
                break
            if epoch < config.epochs:
                _regroup_if_asked(training, epoch)
    return progress


def _energy(training: Training, progress: TrainingProgress) -> EnergyMeter:
    """Counts on from the last epoch; nothing where workers on several nodes train together."""
    before = progress.history[-1]["metrics"].get("perf/energy_kwh", 0) if progress.history else 0
    threads = training.config.threads or training.worker.threads
    return energy_meter(threads, before) if training.worker.workers == 1 else EnergyMeter([])


def run_epoch(
    training: Training,
    progress: TrainingProgress,
    train_step: Callable[..., Measurements],
    batches: Iterator[tuple[Any, Any]],
    epoch: int,
    trace: StepTrace,
    between: int = 1,
) -> EpochTimes:
    """The steps of one epoch, or the rest of it after a resume; adds to the sums in `progress`.

    Measurements are read every `between` steps, when the next step has begun, so that the device
    always has work. A process that trains alone answers a stop request after the step it is in.
    """
    config, per_epoch = training.config, training.stream.steps_per_epoch
    times, parts = EpochTimes(), training.times
    alone = training.worker.workers == 1
    done = progress.step % per_epoch
    with epoch_bar(epoch, config.epochs, per_epoch, done, training.worker.announce_step) as show:
        reading = LateReading(training, training.folder, progress, show)
        while progress.step < epoch * per_epoch:
            with trace.step(progress.step + 1):
                asked = time.perf_counter()
                with parts.measure("input_wait"):
                    images, labels = next_batch(training.stream, batches)
                times.waiting += time.perf_counter() - asked
                with parts.measure("step" if parts.spent["trace"] else "trace"):
                    reading.add(train_step(images, labels, training.stop.asked))
                with parts.measure("step"):
                    if trace.running:
                        reading.read()
                    elif progress.step % between == 0:
                        reading.read(but=1)
            times.steps += 1
            if reading.stop or (alone and training.stop.asked):
                break
        with parts.measure("step"):
            reading.read()
    times.end = time.perf_counter()
    if reading.stop or (alone and training.stop.asked):
        _save_and_stop(training, progress)
    return times


def next_batch(stream: PatchStream, batches: Iterator[tuple[Any, Any]]) -> tuple[Any, Any]:
    """The next batch; a reader's own error in place of TensorFlow's, which is many lines."""
    try:
        return next(batches)
    except tf.errors.OpError:
        if stream.failures:
            raise stream.failures[0] from None
        raise


def _epoch_metrics(
    training: Training, progress: TrainingProgress, times: EpochTimes, reduce_ms: float
) -> dict[str, float]:
    """train/... and perf/... of the epoch that has just ended."""
    counted = training.stream.steps_per_epoch - progress.epoch_skipped
    return {
        "train/loss": progress.epoch_loss / counted if counted else math.nan,
        "train/dice": mean_dice(training.targets, np.array(progress.epoch_counts)),
        "train/lr": float(keras.ops.convert_to_numpy(training.state.optimizer.learning_rate)),
        **times.metrics(
            training.config.batch_size,
            training.strategy.num_replicas_in_sync,
            reduce_ms,
            training.baseline,
        ),
    }


def _validate(
    training: Training, progress: TrainingProgress, validation: Validation, epoch: int
) -> dict[str, float]:
    """val/... of the epoch; keeps the weights when they are the best so far.

    Worker k of n segments cases k, k + n, ...; all workers then have the results of all cases.
    """
    targets, worker, cases = training.targets, training.worker, training.val_cases

    def add(values: np.ndarray) -> np.ndarray:
        return sum_over_workers(values, training.strategy, worker)

    indices = range(worker.rank, len(cases), worker.workers)
    own: list[CaseResult] = []
    begin(VALIDATION)
    with training.state.averaged():
        if not training.stop.asked:
            for results in validation.results([cases[index] for index in indices]):
                begin(VALIDATION)
                own += results
                if training.stop.asked:
                    break
        begin(VALIDATION)
        stopped = add(np.array([float(training.stop.asked)]))[0]
        if not stopped:
            outputs = len(targets.names)
            width = columns(training.metrics, outputs)
            found = dict(zip(indices, own, strict=False))
            results = gather(found, cases, outputs, add, width)
            metrics = mean_metrics(results, targets, training.metrics)
            if not math.isfinite(metrics["val/loss"]):
                what = f"val/loss became {metrics['val/loss']}"
                fail_on_state(training.config, training.folder, what, epoch)
            _keep_best(training, progress, metrics["val/dice"], epoch, results)
            return metrics
    # Only here, as `averaged()` has put the trained weights back; a resume validates again.
    _save_and_stop(training, progress)


def _keep_best(
    training: Training,
    progress: TrainingProgress,
    value: float,
    epoch: int,
    results: list[CaseResult],
) -> None:
    """Save the weights where `value`, val/dice, is above the best so far."""
    for result in results:
        named = zip(training.targets.names, result.dice, strict=True)
        log.debug("%s: %s", result.case, ", ".join(f"{n} {d:.3f}" for n, d in named))
    if progress.best is not None and value <= progress.best:
        progress.since_best += 1
        return
    progress.best, progress.best_epoch, progress.since_best = value, epoch, 0
    if training.worker.chief:
        # Inside `averaged()`: with EMA the best weights are the averaged ones.
        with training.times.measure("checkpoint"):
            keep_best_weights(training.folder, training.state.model)
            with storage_errors(training.folder, training.folder.case_scores.name):
                write_case_scores(training.folder.case_scores, epoch, results, training.targets)


def _close_epoch(
    training: Training, progress: TrainingProgress, epoch: int, metrics: dict[str, float]
) -> None:
    """Checkpoint and record the epoch; the sums over its steps start again from 0."""
    begin(SAVING)
    # Checkpoint first: an epoch that is recorded is never run again after a kill.
    record = {"epoch": epoch, "time": int(time.time() * 1000), "metrics": metrics}
    progress.history.append(record)
    progress.epoch_loss, progress.epoch_counts, progress.epoch_skipped = 0.0, None, 0
    _save(training, progress)
    training.times.epochs = epoch
    with training.times.measure("record"):
        training.tracker.log_epoch(record)
        parameters = training.state.model.count_params()
        training.worker.record_epoch({**record, "parameters": parameters})
    begin(STEP)
    own = [f"val/{metric.name}" for metric in training.metrics]
    names = ["train/loss", "train/dice", "val/loss", "val/dice", *own, "perf/step_ms"]
    shown = [f"{name} {metrics[name]:.4g}" for name in names if name in metrics]
    log.info("epoch %d/%d  %s", epoch, training.config.epochs, "  ".join(shown))


def _regroup_if_asked(training: Training, epoch: int) -> None:
    """End this attempt, whose epoch is saved, where a sweep has other devices for the trial.

    Only the chief looks for the request; the sum keeps the others from beginning the next epoch.
    """
    if training.worker.job_folder is None:
        return
    asked = np.array([float(training.stop.regroup)])
    if sum_over_workers(asked, training.strategy, training.worker)[0]:
        raise TrialRegrouped(f"goes on after epoch {epoch} with other devices", 0)


def _save(training: Training, progress: TrainingProgress) -> None:
    if training.worker.chief:
        with training.times.measure("checkpoint"):
            keep_state(training.folder, training.state, progress)


def _save_and_stop(training: Training, progress: TrainingProgress) -> NoReturn:
    begin(SAVING)
    if not make_finite_check(training.state)():
        epoch = len(progress.history) + 1
        fail_on_state(training.config, training.folder, NOT_NUMBERS, epoch)
    # All workers are here. Amid an epoch the chief would keep the statistics of its own replica.
    average_statistics = make_statistics_mean(training.state, training.strategy)
    if average_statistics:
        average_statistics()
    _save(training, progress)
    if training.stop.pruned:
        raise TrialPruned(f"pruned by the sweep at step {progress.step}", 0)
    resume = resume_command(training.folder.run_id, training.config.output_dir)
    raise RunStopped(
        f"stopped at step {progress.step}, all saved; go on with: {resume}",
        training.stop.exit_code,
    )
