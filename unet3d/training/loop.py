"""The one loop: steps, validation, checkpoint, record; the same for every way to parallelise."""

from __future__ import annotations

import logging
import math
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NoReturn

import keras
import numpy as np

from unet3d.metrics import dice_from_counts
from unet3d.parallel.strategy import local_replicas, sum_over_workers, time_all_reduce
from unet3d.tracking.run import Tracker
from unet3d.training.checkpoint import (
    Progress,
    best_weights,
    last_checkpoint,
    save_checkpoint,
)
from unet3d.training.errors import GivenUp, RunError, RunStopped
from unet3d.training.intensity import make_intensity_change, on_device
from unet3d.training.progress import epoch_bar
from unet3d.training.setup import Setup
from unet3d.training.step import make_statistics_mean, make_train_step
from unet3d.training.stop import StopRequest
from unet3d.training.validate import (
    CaseResult,
    Predictor,
    gather,
    make_predictor,
    summarise,
    validate_case,
)

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Training(Setup):
    """All that the loop works with."""

    tracker: Tracker
    folder: Path  # outputs/runs/<run id>
    stop: StopRequest


@dataclass
class EpochTimes:
    """Seconds spent in an epoch, in all and waiting for the stream."""

    start: float = field(default_factory=time.perf_counter)
    waiting: float = 0.0
    steps: int = 0
    end: float | None = None

    def metrics(
        self, batch_size: int, replicas: int = 1, reduce_ms: float = 0.0, baseline: float = 0.0
    ) -> dict[str, float]:
        """perf/...; reduce_ms: of one all-reduce of all gradients; baseline: patches/s of one."""
        if not self.steps:  # resumed between the last step and the end of its validation
            return {}
        elapsed = (self.end or time.perf_counter()) - self.start
        metrics = {
            "perf/step_ms": 1000 * elapsed / self.steps,
            "perf/patches_per_s": self.steps * batch_size / elapsed,
            "perf/data_wait_pct": 100 * self.waiting / elapsed,
        }
        if replicas > 1:
            metrics |= {
                "perf/patches_per_s_replica": metrics["perf/patches_per_s"] / replicas,
                "perf/allreduce_ms": reduce_ms,
                "perf/allreduce_pct": 100 * reduce_ms / metrics["perf/step_ms"],
            }
        if baseline:
            speedup = metrics["perf/patches_per_s"] / baseline
            metrics |= {"perf/speedup": speedup, "perf/scaling_efficiency": speedup / replicas}
        return metrics


def fit(training: Training, progress: Progress) -> Progress:
    """Train from `progress` to the last epoch, or to an early stop.

    Raises RunStopped after a signal, and RunError on a loss that is not a number.
    """
    config, strategy = training.config, training.strategy
    train_step = make_train_step(training.state, config, training.targets, strategy)
    statistics_mean = make_statistics_mean(training.state, strategy)
    predictor = make_predictor(
        training.state.model,
        strategy,
        local_replicas(strategy, training.place),
        config.validation.batch_size,
    )
    batches = distributed_batches(training, progress.step)
    reduce_ms = time_all_reduce(training.state.model, strategy, config.parallel)
    training.stop.deferred = True
    while len(progress.history) < config.epochs:
        epoch = len(progress.history) + 1
        times = run_epoch(training, progress, train_step, batches, epoch)
        if statistics_mean:
            statistics_mean()
        metrics = _epoch_metrics(training, progress, times, reduce_ms)
        if epoch % config.val_every == 0 or epoch == config.epochs:
            metrics |= _validate(training, progress, predictor, epoch)
        _close_epoch(training, progress, epoch, metrics)
        if config.patience and progress.since_best >= config.patience:
            log.info("stopping early: no better val/dice in %d validations", progress.since_best)
            break
    return progress


def distributed_batches(training: Training, first_step: int) -> Iterator[tuple[Any, Any]]:
    """Images and labels of each worker's own positions of the global batches, for each replica."""
    strategy, config, stream = training.strategy, training.config, training.stream
    place = training.place
    unchanged = on_device(config.augment)
    batches = strategy.distribute_datasets_from_function(
        lambda context: stream.dataset(
            first_step,
            config.epochs * stream.steps_per_epoch,
            shard=place.rank,
            shards=place.workers,
            replicas=local_replicas(strategy, place),
            unchanged=unchanged,
        )
    )
    if not unchanged:
        return iter(batches)
    change = make_intensity_change(config.augment, strategy)
    return ((change(images, *how), labels) for images, labels, *how in batches)


def run_epoch(
    training: Training, progress: Progress, train_step: Any, batches: Any, epoch: int
) -> EpochTimes:
    """The steps of one epoch, or what is left of it after a resume."""
    config, per_epoch = training.config, training.stream.steps_per_epoch
    times = EpochTimes()
    outputs = len(training.targets.names)
    counts = np.array(progress.epoch_counts or np.zeros((3, outputs)))
    with epoch_bar(epoch, config.epochs, per_epoch, progress.step % per_epoch) as show:
        while progress.step < epoch * per_epoch:
            asked = time.perf_counter()
            images, labels = next(batches)
            times.waiting += time.perf_counter() - asked
            measured = train_step(images, labels, training.stop.asked)
            if not math.isfinite(measured.loss):
                _fail_on_loss(training, progress.step, measured.loss)
            counts += measured.counts
            progress.epoch_loss += measured.loss
            progress.step += 1
            times.steps += 1
            progress.epoch_counts = counts.tolist()
            done = (progress.step - 1) % per_epoch + 1
            show(done, progress.epoch_loss / done, _mean_dice(training, counts))
            if measured.stop:
                _save_and_stop(training, progress)
    times.end = time.perf_counter()
    return times


def _mean_dice(training: Training, counts: np.ndarray) -> float:
    values = dice_from_counts((counts[0], counts[1], counts[2]))
    return float(np.mean(values[1:] if training.targets.exclusive else values))


def _epoch_metrics(
    training: Training, progress: Progress, times: EpochTimes, reduce_ms: float
) -> dict[str, float]:
    """train/... and perf/... of the epoch that has just ended; the sums start anew."""
    metrics = {
        "train/loss": progress.epoch_loss / training.stream.steps_per_epoch,
        "train/dice": _mean_dice(training, np.array(progress.epoch_counts)),
        "train/lr": float(keras.ops.convert_to_numpy(training.state.optimizer.learning_rate)),
        **times.metrics(
            training.config.batch_size,
            training.strategy.num_replicas_in_sync,
            reduce_ms,
            training.baseline,
        ),
    }
    return metrics


def _validate(
    training: Training, progress: Progress, predictor: Predictor, epoch: int
) -> dict[str, float]:
    """val/... of the epoch; keeps the weights when they are the best so far.

    Worker k of n segments cases k, k + n, ...; all workers then have the results of all cases.
    """
    config, targets, place, cases = (
        training.config,
        training.targets,
        training.place,
        training.val_cases,
    )

    def add(values: np.ndarray) -> np.ndarray:
        return sum_over_workers(values, training.strategy, place)

    own: dict[int, CaseResult] = {}
    with training.state.averaged():
        for index in range(place.rank, len(cases), place.workers):
            if training.stop.asked:
                break
            own[index] = validate_case(predictor, training.store, cases[index], targets, config)
        stopped = add(np.array([float(training.stop.asked)]))[0]
        if not stopped:
            results = gather(own, cases, len(targets.names), add)
            metrics = summarise(results, targets)
            _keep_best(training, progress, metrics["val/dice"], epoch, results)
            return metrics
    # Outside `averaged()`, which has put the trained weights back; a resume validates again.
    _save_and_stop(training, progress)


def _keep_best(
    training: Training,
    progress: Progress,
    value: float,
    epoch: int,
    results: list[CaseResult],
) -> None:
    for result in results:
        named = zip(training.targets.names, result.dice, strict=True)
        log.debug("%s: %s", result.case, ", ".join(f"{n} {d:.3f}" for n, d in named))
    if progress.best is not None and value <= progress.best:
        progress.since_best += 1
        return
    progress.best, progress.best_epoch, progress.since_best = value, epoch, 0
    if not training.place.chief:
        return
    # Saved inside `averaged()`: with EMA the best weights are the averaged ones.
    temporary = training.folder / "checkpoints" / ".best.weights.h5"
    training.state.model.save_weights(temporary, overwrite=True)
    temporary.replace(best_weights(training.folder))


def _close_epoch(
    training: Training, progress: Progress, epoch: int, metrics: dict[str, float]
) -> None:
    # Checkpoint first: an epoch that is recorded is never run again after a kill.
    record = {"epoch": epoch, "time": int(time.time() * 1000), "metrics": metrics}
    progress.history.append(record)
    progress.epoch_loss, progress.epoch_counts = 0.0, None
    _save(training, progress)
    training.tracker.log_epoch(record)
    training.place.record(record)
    shown = ("train/loss", "train/dice", "val/loss", "val/dice", "perf/step_ms")
    told = [f"{name} {metrics[name]:.4g}" for name in shown if name in metrics]
    log.info("epoch %d/%d  %s", epoch, training.config.epochs, "  ".join(told))


def _save(training: Training, progress: Progress) -> None:
    if training.place.chief:
        save_checkpoint(last_checkpoint(training.folder), training.state.variables(), progress)


def _fail_on_loss(training: Training, step: int, loss: float) -> None:
    cases = ", ".join(
        training.stream.cases_of(
            step // training.stream.steps_per_epoch, step % training.stream.steps_per_epoch
        )
    )
    raise RunError(
        f"the loss became {loss} at step {step + 1}, on cases {cases}; try a smaller lr "
        f"(now {training.config.lr:g}), optimizer.clip_norm=1, or precision=float32; "
        f"the state before this epoch is in {last_checkpoint(training.folder)}"
    )


def _save_and_stop(training: Training, progress: Progress) -> NoReturn:
    _save(training, progress)
    if training.stop.early:
        raise GivenUp(f"given up by the sweep at step {progress.step}", 0)
    run_id = training.folder.name
    raise RunStopped(
        f"stopped at step {progress.step}, all saved; go on with: python train.py resume={run_id}",
        training.stop.exit_code,
    )
