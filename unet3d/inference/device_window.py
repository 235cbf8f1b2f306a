"""Logits of a volume on the device that predicts them: window after window, in one traced function.

The host's way, sliding_window.py, holds a few planes only; this one holds the volume's logits, in
the memory of the device, and moves nothing but the 16-bit image.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import astuple, dataclass
from itertools import product
from typing import Any

import numpy as np
import tensorflow as tf

from unet3d.inference.sliding_window import axis_starts, covered, gaussian_weights, pad


@dataclass(frozen=True)
class DeviceVolume:
    """A volume as `device_logits` takes it. In the image, which is padded to the patch at least:

    starts: int32 (n, 3), the windows' first voxels; n is a multiple of the windows at once. used:
    float32 (n,), 0 for those that only fill up the last batch, else 1. sums: the weights that add
    up along each axis, three float32 (size,). offset, shape: int32 (3,), where the volume lies.
    """

    image: np.ndarray
    starts: np.ndarray
    used: np.ndarray
    sums_x: np.ndarray
    sums_y: np.ndarray
    sums_z: np.ndarray
    offset: np.ndarray
    shape: np.ndarray

    def arrays(self) -> tuple[np.ndarray, ...]:
        """The fields, as the arguments of a traced function."""
        return astuple(self)


def volume_specs(kind: Any, channels: int) -> tuple[tf.TensorSpec, ...]:
    """The types of `DeviceVolume.arrays` for images of `kind`, so that all share one trace."""
    line = tf.TensorSpec([None], tf.float32)
    three = tf.TensorSpec([3], tf.int32)
    image = tf.TensorSpec([None, None, None, channels], kind)
    return (image, tf.TensorSpec([None, 3], tf.int32), line, line, line, line, three, three)


def device_volume(
    image: np.ndarray, patch: Sequence[int], overlap: float, windows: int
) -> DeviceVolume:
    """The windows of an image (x, y, z, channels); they are those of sliding_window.planes.

    windows: at once. Raises ConfigError for an overlap outside [0, 1).
    """
    shape = image.shape[:3]
    image, crop = pad(image, patch)
    starts = axis_starts(image.shape[:3], patch, overlap)
    every = np.array(list(product(*starts)), np.int32)
    filled = -(-len(every) // windows) * windows
    used = (np.arange(filled) < len(every)).astype(np.float32)
    every = np.concatenate([every, np.repeat(every[-1:], filled - len(every), axis=0)])
    axes = zip(image.shape[:3], patch, starts, strict=True)
    offset = np.array([part.start for part in crop], np.int32)
    x, y, z = (covered(*axis) for axis in axes)
    return DeviceVolume(image, every, used, x, y, z, offset, np.array(shape, np.int32))


def no_volume(kind: Any, channels: int, sizes: tuple[int, int, int]) -> DeviceVolume:
    """A volume of these sizes and no windows, for a replica that has nothing to do."""
    image = np.zeros((*sizes, channels), kind)
    lines: list[Any] = [np.ones(size, np.float32) for size in sizes]
    zero: Any = np.zeros(3, np.int32)
    starts: Any = np.zeros((0, 3), np.int32)
    used: Any = np.zeros(0, np.float32)
    shape: Any = np.array(sizes, np.int32)
    return DeviceVolume(image, starts, used, lines[0], lines[1], lines[2], zero, shape)


def device_logits(
    predict: Callable[[Any], Any],
    volume: Sequence[Any],
    patch: Sequence[int] | None,
    *,
    outputs: int,
    windows: int,
) -> Any:
    """Logits of a volume, float32 (x, y, z, outputs); to be traced.

    predict: float32 (windows, *patch, channels) -> (windows, *patch, outputs). volume: the arrays
    of a `DeviceVolume`. patch: None where the one window is the volume. A voxel's logits are the
    weighted mean over its windows, as sliding_window.planes has it.
    """
    image, starts, used, *sums, offset, shape = volume
    image = tf.cast(image, tf.float32)
    if patch is None:
        logits = tf.cast(predict(image[tf.newaxis])[0], tf.float32)
    else:
        logits = _blended(predict, image, starts, used, patch, outputs, windows)
        x, y, z = (tf.reshape(line, [-1, *[1] * (3 - axis)]) for axis, line in enumerate(sums))
        logits /= x * (y * z)
    return tf.slice(logits, tf.pad(offset, [[0, 1]]), tf.concat([shape, [outputs]], 0))


def _blended(
    predict: Callable[[Any], Any],
    image: Any,
    starts: Any,
    used: Any,
    patch: Sequence[int],
    outputs: int,
    windows: int,
) -> Any:
    """The weighted sum of the windows' logits, of the image's size."""
    weights = tf.constant(gaussian_weights(patch)[..., np.newaxis])
    size, channels = tf.constant([*patch, outputs]), image.shape[-1]

    def one_batch(first: Any, total: Any) -> tuple[Any, Any]:
        begins = [tf.pad(starts[first + n], [[0, 1]]) for n in range(windows)]
        boxes = tf.stack([tf.slice(image, begin, [*patch, channels]) for begin in begins])
        logits = tf.cast(predict(boxes), tf.float32)
        for n, begin in enumerate(begins):
            before = tf.slice(total, begin, [*patch, outputs])
            total = tf.raw_ops.TensorStridedSliceUpdate(  # in place, as nobody else holds `total`
                input=total,
                begin=begin,
                end=begin + size,
                strides=[1] * 4,
                value=before + logits[n] * (weights * used[first + n]),
            )
        return first + windows, total

    empty = tf.zeros(tf.concat([tf.shape(image)[:3], [outputs]], 0))
    state = (tf.constant(0), tf.ensure_shape(empty, [None, None, None, outputs]))
    return tf.while_loop(
        lambda first, total: first < tf.shape(starts)[0],
        one_batch,
        state,
        shape_invariants=(tf.TensorShape([]), tf.TensorShape([None, None, None, outputs])),
        parallel_iterations=1,
    )[1]
