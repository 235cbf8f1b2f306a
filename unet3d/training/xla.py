"""Whether XLA compiles the step, which fuses norms and activations into fewer passes over memory.

docs/decisions/0016-xla.md has the figures.
"""

from __future__ import annotations

import logging

import tensorflow as tf

from unet3d import machine
from unet3d.config.schema import Config
from unet3d.errors import ConfigError, in_a_line

log = logging.getLogger(__name__)
WORTH_STEPS = 2000  # compiling takes 20 to 30 s, and a step becomes 14 to 30 ms shorter


def uses_xla(config: Config, steps: int, replicas: int) -> bool:
    """Whether to compile a training of so many steps over so many replicas.

    By `config.xla`; auto follows from the settings and the device alone, never from a timing, so
    that a run is repeated as it was. Raises ConfigError where it is on and cannot be.
    """
    synchronized = config.model.norm == "sync_batch" and replicas > 1
    if config.xla == "on" and synchronized:
        raise ConfigError(
            "xla: on cannot compile model.norm=sync_batch over several replicas, which exchange "
            "statistics within the step; choose xla=off, or model.norm=group"
        )
    if config.xla != "auto":
        return config.xla == "on"
    if not machine.opened_gpus() or synchronized or config.deterministic or steps < WORTH_STEPS:
        return False
    if config.model.recompute:  # XLA may find the second computation to be that of the first
        return False
    return _compiles()


def _compiles() -> bool:
    """Whether XLA finds what it needs on this machine: ptxas and libdevice of CUDA."""

    @tf.function(autograph=False, jit_compile=True)
    def small(image: tf.Tensor) -> tf.Tensor:
        return tf.tanh(tf.nn.conv3d(image, tf.ones((3, 3, 3, 1, 1)), [1] * 5, "SAME"))

    try:
        small(tf.ones((1, 4, 4, 4, 1)))
    except tf.errors.OpError as error:
        log.warning("xla: XLA cannot compile here (%s); the step goes without it", in_a_line(error))
        return False
    return True
