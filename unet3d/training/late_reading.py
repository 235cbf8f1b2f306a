"""Reads what steps have measured while the device computes later ones."""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Callable
from typing import TYPE_CHECKING

import numpy as np

from unet3d.distributed.progress import step_done
from unet3d.distributed.strategy import sum_over_workers
from unet3d.metrics import dice_from_counts
from unet3d.run_folder import RunFolder
from unet3d.training.checkpoint import TrainingProgress
from unet3d.training.keep import fail_on_loss
from unet3d.training.measurements import Measurements

if TYPE_CHECKING:
    from unet3d.sampling.targets import Targets
    from unet3d.training.setup import Setup

READ_SECONDS = 0.1  # about so much time lies between two readings, and a step at least
MOST_STEPS = 16  # and at most so many steps, as what they need is in the device's memory


class LateReading:
    """The measurements of an epoch's steps, taken into `progress` in the order of the steps.

    `progress.step` counts the steps begun; its sums are of those that were read. A checkpoint is
    written only when both are the same. stop: whether a step that was read says that a worker was
    asked to stop; as all workers read at the same steps, they agree on it.
    """

    def __init__(
        self,
        setup: Setup,
        folder: RunFolder,
        progress: TrainingProgress,
        show: Callable[[int, float, float], None],
    ):
        self.setup, self.folder, self.progress, self.show = setup, folder, progress, show
        self.pending: deque[tuple[int, Measurements]] = deque()  # (step from 1, what it measured)
        outputs = len(setup.targets.names)
        self.counts = np.array(progress.epoch_counts or np.zeros((3, outputs)))
        self.stop = False

    def add(self, measured: Measurements) -> None:
        """Take in a step that has begun."""
        self.progress.step += 1
        self.pending.append((self.progress.step, measured))

    def read(self, but: int = 0) -> None:
        """Read all steps but the last `but`, and wait for them.

        Raises RunError for a loss that is not a number, with the step that it comes from.
        """
        while len(self.pending) > but:
            self._read(*self.pending.popleft())

    def _read(self, step: int, measured: Measurements) -> None:
        setup, progress = self.setup, self.progress
        if math.isfinite(measured.loss):
            self.counts += measured.counts
            progress.epoch_loss += measured.loss
        elif setup.state.may_overflow():
            progress.epoch_skipped += 1
        else:
            cases = _cases_of_step(setup, step - 1)
            fail_on_loss(setup.config, self.folder, step, measured.loss, cases)
        step_done()  # only here has the device done it
        self.stop = self.stop or measured.stop
        progress.epoch_counts = self.counts.tolist()
        done = (step - 1) % setup.stream.steps_per_epoch + 1
        counted = max(done - progress.epoch_skipped, 1)
        self.show(done, progress.epoch_loss / counted, mean_dice(setup.targets, self.counts))


def steps_between_readings(setup: Setup, step_seconds: float) -> int:
    """How many steps to begin before reading those before; all workers must call it, and agree.

    step_seconds: of this worker, a mean.
    """
    workers = setup.worker.workers
    own = np.array([step_seconds])
    mean = float(sum_over_workers(own, setup.strategy, setup.worker)[0]) / workers
    return max(1, min(MOST_STEPS, int(READ_SECONDS / max(mean, 1e-9))))


def mean_dice(targets: Targets, counts: np.ndarray) -> float:
    """Mean over the outputs, without a softmax's background. counts: (3, outputs)."""
    values = dice_from_counts((counts[0], counts[1], counts[2]))
    return float(np.mean(values[1:] if targets.exclusive else values))


def _cases_of_step(setup: Setup, step: int) -> list[str]:
    drawn = 0 if setup.config.repeat_batch else step
    return setup.stream.cases_of(*divmod(drawn, setup.stream.steps_per_epoch))
