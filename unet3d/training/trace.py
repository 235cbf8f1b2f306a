"""A trace of some training steps for TensorBoard: which operation ran when, and on what."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import tensorflow as tf

log = logging.getLogger(__name__)

UNTRACED_STEPS = 5  # the first ones compile, and fill the stream


class StepTrace:
    """Traces `steps` steps of this process into `folder`, after the first UNTRACED_STEPS."""

    def __init__(self, folder: Path, steps: int):
        self.folder, self.steps, self.seen = folder, steps, 0
        self.running = False

    @contextmanager
    def step(self, number: int) -> Iterator[None]:
        """Around a step, from its wait for data to its measurements. number: as it is shown."""
        if self.steps and self.seen == UNTRACED_STEPS:
            tf.profiler.experimental.start(str(self.folder))
            self.running = True
        self.seen += 1
        if not self.running:
            yield
            return
        with tf.profiler.experimental.Trace("train", step_num=number, _r=1):
            yield
        if self.seen == UNTRACED_STEPS + self.steps:
            self.close()

    def close(self) -> None:
        """Write the trace, also where the training ends within it."""
        if self.running:
            self.running = False
            tf.profiler.experimental.stop()
            traced = self.seen - UNTRACED_STEPS
            log.info("traced %d steps: tensorboard --logdir %s", traced, self.folder)
