"""A way around a fault of TensorFlow's on CPU, until it is mended there."""

from __future__ import annotations

from typing import Any

import tensorflow as tf
from keras import layers


class FusionBarrier(layers.Layer):
    """The identity, which TensorFlow's graph optimizer does not look across; it copies nothing.

    TensorFlow 2.21 with oneDNN fuses convolution, bias, addition and leaky ReLU into one kernel
    that is wrong by whole logits. The pattern is that of a residual block without a norm: with a
    barrier before the activation only the first three are fused, and rightly. It belongs to the
    network rather than to the process, as a switch of TensorFlow's would, so that networks beside
    it keep their fusions, and an exported model is right in a program that knows of no switch.
    """

    def call(self, x: Any) -> Any:
        """x as it is."""
        return tf.ensure_shape(x, x.shape)

    def compute_output_shape(self, shape: tuple[int | None, ...]) -> tuple[int | None, ...]:
        """The input's."""
        return shape
