"""A depthwise 3-D convolution: Keras has none, and its grouped one is slow on a CPU."""

from __future__ import annotations

from collections.abc import Sequence
from math import prod
from typing import Any

import keras
from keras import layers, ops


class DepthwiseConv3D(layers.Layer):
    """A kernel of 1 or 3 along each axis for each channel, with 'same' padding and a bias.

    Computed as the sum over the kernel's planes of a 2-D depthwise convolution of y and z, which
    TensorFlow has fast kernels for. stride: 1 or 2 along each axis; the first voxel is kept.
    """

    def __init__(self, size: Sequence[int], stride: Sequence[int], seed: int, **settings: Any):
        super().__init__(**settings)
        self.size, self.stride, self.seed = tuple(size), tuple(stride), seed

    def build(self, shape: tuple[int | None, ...]) -> None:
        """shape: (batch, x, y, z, channels). Initial weights are those of He et al. 2015."""
        deviation = (2 / prod(self.size)) ** 0.5
        self.kernel = self.add_weight(
            shape=(*self.size, shape[-1], 1),
            initializer=keras.initializers.TruncatedNormal(stddev=deviation, seed=self.seed),
            name="kernel",
        )
        self.bias = self.add_weight(shape=(shape[-1],), initializer="zeros", name="bias")

    def call(self, x: Any) -> Any:
        """(batch, x, y, z, channels), smaller by the stride."""
        batch, width, height, depth, _ = ops.shape(x)
        channels = x.shape[-1]
        planes = ops.reshape(x, (-1, height, depth, channels))

        def plane(index: int) -> Any:
            found = ops.depthwise_conv(planes, self.kernel[index], padding="same")
            return ops.reshape(found, (batch, width, height, depth, channels))

        middle = self.size[0] // 2
        total = plane(middle)
        if middle:
            before, after = plane(0)[:, :-1], plane(2)[:, 1:]
            rest = ((0, 0), (0, 0), (0, 0))
            total = total + ops.pad(before, ((0, 0), (1, 0), *rest))
            total = total + ops.pad(after, ((0, 0), (0, 1), *rest))
        step_x, step_y, step_z = self.stride
        return total[:, ::step_x, ::step_y, ::step_z] + self.bias

    def compute_output_shape(self, shape: tuple[int | None, ...]) -> tuple[int | None, ...]:
        """The input's, smaller by the stride."""
        steps = (1, *self.stride, 1)
        return tuple(size and -(-size // step) for size, step in zip(shape, steps, strict=True))

    def get_config(self) -> dict[str, Any]:
        """With kernel, stride and seed."""
        own = {"size": list(self.size), "stride": list(self.stride), "seed": self.seed}
        return {**super().get_config(), **own}
