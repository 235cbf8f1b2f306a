"""Larger feature maps without weights: between voxels linearly, or by zeros."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from keras import layers, ops

SHARE = 0.75  # of the nearer of two neighbours; the new voxels' centres lie a quarter from its own


class _Larger(layers.Layer):
    """`stride` times the resolution along each axis, 1 or 2."""

    def __init__(self, stride: Sequence[int], **settings: Any):
        super().__init__(**settings)
        self.stride = tuple(stride)

    def call(self, x: Any) -> Any:
        """(batch, x, y, z, channels), larger along x, y and z."""
        for axis, step in enumerate(self.stride, 1):
            if step == 2:
                x = _interleaved(*self.pair(x, axis), axis)
        return x

    def pair(self, x: Any, axis: int) -> tuple[Any, Any]:
        """The two voxels along `axis` that each of x becomes."""
        raise NotImplementedError

    def compute_output_shape(self, shape: tuple[int | None, ...]) -> tuple[int | None, ...]:
        """The input's, larger."""
        steps = (1, *self.stride, 1)
        return tuple(size and size * step for size, step in zip(shape, steps, strict=True))

    def get_config(self) -> dict[str, Any]:
        """With the stride."""
        return {**super().get_config(), "stride": list(self.stride)}


class LinearUpsampling(_Larger):
    """Trilinear interpolation, the outermost voxels continued beyond the edge."""

    def pair(self, x: Any, axis: int) -> tuple[Any, Any]:
        """Each voxel mixed with the one before it, and with the one after it."""
        size = ops.shape(x)[axis]
        where = ops.arange(size)
        before = ops.take(x, ops.maximum(where - 1, 0), axis=axis)
        after = ops.take(x, ops.minimum(where + 1, size - 1), axis=axis)
        return SHARE * x + (1 - SHARE) * before, SHARE * x + (1 - SHARE) * after


class ZeroInsertion(_Larger):
    """A zero after each voxel: with a convolution behind it, a transposed convolution."""

    def pair(self, x: Any, axis: int) -> tuple[Any, Any]:
        """Each voxel, and a zero."""
        return x, ops.zeros_like(x)


def _interleaved(first: Any, second: Any, axis: int) -> Any:
    """The voxels of both in turn along `axis`."""
    shape = list(ops.shape(first))
    shape[axis] = 2 * shape[axis]
    return ops.reshape(ops.stack([first, second], axis=axis + 1), shape)
