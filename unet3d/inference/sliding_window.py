"""Logits of a volume from overlapping windows, blended with Gaussian weights."""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from itertools import product
from typing import Any

import numpy as np

from unet3d.errors import ConfigError

Start = tuple[int, ...]
Predict = Callable[[np.ndarray], np.ndarray]  # (b, x, y, z, channels) -> (b, x, y, z, outputs)


def padded_shape(shape: Sequence[int], stride: Sequence[int]) -> tuple[int, ...]:
    """`shape` (voxels) rounded up to multiples of `stride`: the patch of a whole volume."""
    return tuple(math.ceil(size / step) * step for size, step in zip(shape, stride, strict=True))


def axis_starts(shape: Sequence[int], patch: Sequence[int], overlap: float) -> list[list[int]]:
    """First voxels along each axis of the windows that cover a volume of `shape`.

    Neighbours share at least `overlap` of the patch and are evenly spread; the last one ends at
    the border. The windows are the product of the three lists. Raises ConfigError unless
    0 <= overlap < 1.
    """
    if not 0 <= overlap < 1:
        raise ConfigError(f"validation.overlap: {overlap} must be at least 0 and below 1")
    starts = []
    for size, width in zip(shape, patch, strict=True):
        if size < width:
            raise ValueError(f"a volume of {tuple(shape)} is smaller than a patch {tuple(patch)}")
        step = max(1, int(width * (1 - overlap)))
        count = math.ceil((size - width) / step) + 1
        starts.append([round(x) for x in np.linspace(0, size - width, count)])
    return starts


def axis_weights(width: int) -> np.ndarray:
    """A Gaussian over `width` voxels, sigma width / 8, 1 at the middle; float32 (width,)."""
    offset = np.arange(width) - (width - 1) / 2
    return np.exp(-0.5 * np.square(offset / (width / 8))).astype(np.float32)


def gaussian_weights(patch: Sequence[int]) -> np.ndarray:
    """The weight of each voxel of a window, float32 of shape `patch` (Isensee et al. 2021).

    The product of a Gaussian per axis; positive everywhere, so that every covered voxel counts.
    """
    weights: np.ndarray = np.ones((1,) * len(patch), dtype=np.float32)
    for axis, width in enumerate(patch):
        weights = weights * along(axis_weights(width), axis, len(patch))
    return weights


def along(values: np.ndarray, axis: int, dimensions: int) -> np.ndarray:
    """`values` as a view that broadcasts along `axis`."""
    return values.reshape([-1 if i == axis else 1 for i in range(dimensions)])


def planes(
    predict: Predict,
    image: np.ndarray,
    patch: Sequence[int],
    *,
    outputs: int,
    overlap: float = 0.5,
    batch_size: int = 1,
    empty: np.ndarray | None = None,
) -> Iterator[np.ndarray]:
    """Logits of a volume, one plane after another: float32 (y, z, outputs) for each x.

    predict: float32 (batch_size, *patch, channels) -> (batch_size, *patch, outputs); called with
    this one shape only, so a traced function is traced once.
    image: (x, y, z, channels); one smaller than the patch is padded with zeros on both sides.
    empty: the logits (outputs,) of windows that hold only zeros, which are then not predicted;
    None: predict them as well.
    A voxel's logits are the weighted mean over the windows that cover it. Besides the image, only
    the planes that one window spans are held in memory, whatever the length of the volume.
    """
    image, crop = pad(image, patch)
    size = image.shape[:3]
    starts = axis_starts(size, patch, overlap)
    weights = np.repeat(gaussian_weights(patch)[..., np.newaxis], outputs, axis=3)
    # The windows form a grid and the Gaussian is a product over axes, so the sum of the weights is
    # one too: three short vectors replace a second volume.
    along_x, along_y, along_z = (covered(*axis) for axis in zip(size, patch, starts, strict=True))
    covered_plane = (along_y[:, np.newaxis] * along_z)[..., np.newaxis]

    def finished(count: int, first: int) -> Iterator[np.ndarray]:
        for x in range(first, first + count):
            plane = held.popleft()
            if crop[0].start <= x < crop[0].stop:
                yield (plane / (along_x[x] * covered_plane))[crop[1:]]

    first = 0
    held: deque[np.ndarray] = deque()
    for start, logits in window_logits(
        predict, image, list(product(*starts)), patch, outputs, batch_size, empty
    ):
        if start[0] > first:  # no later window reaches the earlier planes
            yield from finished(start[0] - first, first)
            first = start[0]
        while len(held) < patch[0]:
            held.append(np.zeros((*size[1:], outputs), np.float32))
        place = box(start[1:], patch[1:])
        for plane, values, weight in zip(held, logits, weights, strict=True):
            plane[place] += values * weight
    yield from finished(len(held), first)


def sliding_window(
    predict: Predict, image: np.ndarray, patch: Sequence[int], *, outputs: int, **settings: Any
) -> np.ndarray:
    """All `planes` of a volume, from the same arguments: float32 (x, y, z, outputs)."""
    logits = np.empty((*image.shape[:3], outputs), np.float32)
    for x, plane in enumerate(planes(predict, image, patch, outputs=outputs, **settings)):
        logits[x] = plane
    return logits


def window_logits(
    predict: Predict,
    image: np.ndarray,
    starts: Sequence[Start],
    patch: Sequence[int],
    outputs: int,
    batch_size: int,
    empty: np.ndarray | None,
) -> Iterator[tuple[Start, np.ndarray]]:
    """Each window's logits, in the order of `starts`: (*patch, outputs), or `empty`."""
    blank = {start for start in starts if empty is not None and not image[box(start, patch)].any()}
    waiting = deque(start for start in starts if start not in blank)
    batch = np.zeros((batch_size, *patch, image.shape[3]), dtype=np.float32)
    ready: deque[np.ndarray] = deque()
    for start in starts:
        if start in blank:
            assert empty is not None
            yield start, np.broadcast_to(empty, (*patch, outputs))
            continue
        if not ready:
            count = min(batch_size, len(waiting))
            for index in range(count):  # the rest of a last batch keeps old windows, unused
                batch[index] = image[box(waiting.popleft(), patch)]
            logits = predict(batch)
            if logits.shape != (batch_size, *patch, outputs):
                raise ValueError(
                    f"predict returned {logits.shape}, not {(batch_size, *patch, outputs)}"
                )
            ready.extend(logits[:count])
        yield start, ready.popleft()


def covered(size: int, width: int, begins: Sequence[int]) -> np.ndarray:
    """Sum of the weights over an axis of `size` voxels; float32 (size,)."""
    total: np.ndarray = np.zeros(size, dtype=np.float32)
    for begin in begins:
        total[begin : begin + width] += axis_weights(width)
    return total


def box(start: Sequence[int], size: Sequence[int]) -> tuple[slice, ...]:
    """The slices of a window."""
    return tuple(slice(begin, begin + width) for begin, width in zip(start, size, strict=True))


def pad(image: np.ndarray, patch: Sequence[int]) -> tuple[np.ndarray, tuple[slice, ...]]:
    """`image` centred in zeros where it is smaller than `patch`, and the slices of the image."""
    shape = image.shape[:3]
    missing = [max(0, width - size) for size, width in zip(shape, patch, strict=True)]
    before = [extra // 2 for extra in missing]
    if any(missing):
        margins = [(first, extra - first) for first, extra in zip(before, missing, strict=True)]
        image = np.pad(image, [*margins, (0, 0)])
    return image, box(before, shape)
