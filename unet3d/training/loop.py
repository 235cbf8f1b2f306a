"""The one loop: steps, validation, checkpoint, record; the same for every way to parallelise."""

from __future__ import annotations

import logging
import math
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NoReturn

import keras
import numpy as np

from unet3d.metrics import dice_from_counts
from unet3d.tracking import Tracker
from unet3d.training.checkpoint import Progress, save_checkpoint
from unet3d.training.errors import RunError, RunStopped
from unet3d.training.progress import EpochBar
from unet3d.training.setup import Setup
from unet3d.training.step import make_train_step
from unet3d.training.stop import StopRequest
from unet3d.training.validate import CaseResult, make_predictor, summarise, validate_case

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

    def metrics(self, batch_size: int) -> dict[str, float]:
        if not self.steps:  # resumed between the last step and the end of its validation
            return {}
        elapsed = time.perf_counter() - self.start
        return {
            "perf/step_ms": 1000 * elapsed / self.steps,
            "perf/patches_per_s": self.steps * batch_size / elapsed,
            "perf/data_wait_pct": 100 * self.waiting / elapsed,
        }


def fit(training: Training, progress: Progress) -> Progress:
    """Train from `progress` to the last epoch, or to an early stop.

    Raises RunStopped after a signal, and RunError on a loss that is not a number.
    """
    config, stream = training.config, training.stream
    per_epoch = stream.steps_per_epoch
    train_step = make_train_step(training.state, config, training.targets, training.strategy)
    predictor = make_predictor(training.state.model)
    batches = iter(
        training.strategy.experimental_distribute_dataset(
            stream.dataset(progress.step, config.epochs * per_epoch)
        )
    )
    training.stop.deferred = True
    while len(progress.history) < config.epochs:
        epoch = len(progress.history) + 1
        times = run_epoch(training, progress, train_step, batches, epoch)
        metrics = _epoch_metrics(training, progress, times)
        if epoch % config.val_every == 0 or epoch == config.epochs:
            metrics |= _validate(training, progress, predictor, epoch)
        _close_epoch(training, progress, epoch, metrics)
        if config.patience and progress.since_best >= config.patience:
            log.info("stopping early: no better val/dice in %d validations", progress.since_best)
            break
    return progress


def run_epoch(
    training: Training, progress: Progress, train_step: Any, batches: Any, epoch: int
) -> EpochTimes:
    """The steps of one epoch, or what is left of it after a resume."""
    config, per_epoch = training.config, training.stream.steps_per_epoch
    times = EpochTimes()
    outputs = len(training.targets.names)
    counts = np.array(progress.epoch_counts or np.zeros((3, outputs)))
    with EpochBar(epoch, config.epochs, per_epoch, progress.step % per_epoch) as bar:
        while progress.step < epoch * per_epoch:
            asked = time.perf_counter()
            images, labels = next(batches)
            times.waiting += time.perf_counter() - asked
            measured = train_step(images, labels)
            loss = float(measured.loss)
            if not math.isfinite(loss):
                _fail_on_loss(training, progress.step, loss)
            counts += measured.counts.numpy()
            progress.epoch_loss += loss
            progress.step += 1
            times.steps += 1
            progress.epoch_counts = counts.tolist()
            done = (progress.step - 1) % per_epoch + 1
            bar.update(done, progress.epoch_loss / done, _mean_dice(training, counts))
            if training.stop.signal is not None:
                _save_and_stop(training, progress)
    return times


def _mean_dice(training: Training, counts: np.ndarray) -> float:
    values = dice_from_counts((counts[0], counts[1], counts[2]))
    return float(np.mean(values[1:] if training.targets.exclusive else values))


def _epoch_metrics(training: Training, progress: Progress, times: EpochTimes) -> dict[str, float]:
    """train/... and perf/... of the epoch that has just ended; the sums start anew."""
    metrics = {
        "train/loss": progress.epoch_loss / training.stream.steps_per_epoch,
        "train/dice": _mean_dice(training, np.array(progress.epoch_counts)),
        "train/lr": float(keras.ops.convert_to_numpy(training.state.optimizer.learning_rate)),
        **times.metrics(training.config.batch_size),
    }
    return metrics


def _validate(
    training: Training, progress: Progress, predictor: Any, epoch: int
) -> dict[str, float]:
    """val/... of the epoch; keeps the weights when they are the best so far."""
    results = []
    with training.state.averaged():
        for case in training.val_cases:
            results.append(
                validate_case(predictor, training.store, case, training.targets, training.config)
            )
            if training.stop.signal is not None:
                break
        else:
            metrics = summarise(results, training.targets)
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
    # Saved inside `averaged()`: with EMA the best weights are the averaged ones.
    temporary = training.folder / "checkpoints" / ".best.weights.h5"
    training.state.model.save_weights(temporary, overwrite=True)
    temporary.replace(best_weights(training.folder))


def best_weights(folder: Path) -> Path:
    """The best network's weights, for keras.Model.load_weights."""
    return folder / "checkpoints" / "best.weights.h5"


def last_checkpoint(folder: Path) -> Path:
    """The state to resume from."""
    return folder / "checkpoints" / "last.npz"


def _close_epoch(
    training: Training, progress: Progress, epoch: int, metrics: dict[str, float]
) -> None:
    # Checkpoint first: an epoch that is recorded is never run again after a kill.
    record = {"epoch": epoch, "time": int(time.time() * 1000), "metrics": metrics}
    progress.history.append(record)
    progress.epoch_loss, progress.epoch_counts = 0.0, None
    save_checkpoint(last_checkpoint(training.folder), training.state.variables(), progress)
    training.tracker.log_epoch(record)
    shown = ("train/loss", "train/dice", "val/loss", "val/dice", "perf/step_ms")
    told = [f"{name} {metrics[name]:.4g}" for name in shown if name in metrics]
    log.info("epoch %d/%d  %s", epoch, training.config.epochs, "  ".join(told))


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
    save_checkpoint(last_checkpoint(training.folder), training.state.variables(), progress)
    run_id = training.folder.name
    raise RunStopped(
        f"stopped at step {progress.step}, all saved; go on with: python train.py resume={run_id}",
        training.stop.exit_code,
    )
