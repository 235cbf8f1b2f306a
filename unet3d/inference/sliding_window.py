"""Whole-volume logits from overlapping windows, blended with Gaussian weights."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from itertools import product

import numpy as np

from unet3d.config import ConfigError

Start = tuple[int, ...]
Predict = Callable[[np.ndarray], np.ndarray]  # (b, x, y, z, channels) -> (b, x, y, z, outputs)


def padded_shape(shape: Sequence[int], multiple: int) -> tuple[int, ...]:
    """`shape` (voxels) rounded up to multiples of `multiple`: the patch of a whole volume."""
    return tuple(math.ceil(size / multiple) * multiple for size in shape)


def windows(shape: Sequence[int], patch: Sequence[int], overlap: float) -> list[Start]:
    """First voxels of the windows that cover a volume of `shape`, all in voxels.

    Neighbours share at least `overlap` of the patch, are evenly spread, and the last one ends at
    the border. Raises ConfigError unless 0 <= overlap < 1.
    """
    return list(product(*axis_starts(shape, patch, overlap)))


def axis_starts(shape: Sequence[int], patch: Sequence[int], overlap: float) -> list[list[int]]:
    """The starts along each axis; `windows` is their product."""
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

    A product of one Gaussian an axis; positive everywhere, so that every covered voxel counts.
    """
    weights: np.ndarray = np.ones((1,) * len(patch), dtype=np.float32)
    for axis, width in enumerate(patch):
        weights = weights * along(axis_weights(width), axis, len(patch))
    return weights


def along(values: np.ndarray, axis: int, dimensions: int) -> np.ndarray:
    """`values` as a view that broadcasts along `axis`."""
    return values.reshape([-1 if i == axis else 1 for i in range(dimensions)])


def sliding_window(
    predict: Predict,
    image: np.ndarray,
    patch: Sequence[int],
    *,
    outputs: int,
    overlap: float = 0.5,
    batch_size: int = 1,
    empty: np.ndarray | None = None,
) -> np.ndarray:
    """Logits of a whole volume, as the weighted mean of the windows that cover each voxel.

    predict: float32 (batch_size, *patch, channels) -> (batch_size, *patch, outputs); every call
    has this one shape, so a traced function is traced once.
    image: (x, y, z, channels); one smaller than the patch is padded with zeros on both sides.
    empty: the logits (outputs,) of windows that hold nothing but zeros, which are then not
    predicted; None predicts them as well.
    Returns float32 (x, y, z, outputs). Besides the image it holds one such array and one batch.
    """
    shape = image.shape[:3]
    image, crop = pad(image, patch)
    starts = axis_starts(image.shape[:3], patch, overlap)
    weights = gaussian_weights(patch)[..., np.newaxis]
    total = np.zeros((*image.shape[:3], outputs), dtype=np.float32)
    batch = np.zeros((batch_size, *patch, image.shape[3]), dtype=np.float32)
    places = [box(start, patch) for start in product(*starts)]
    if empty is not None:
        blank = [place for place in places if not image[place].any()]
        places = [place for place in places if image[place].any()]
        for place in blank:
            total[place] += empty * weights
    for first in range(0, len(places), batch_size):
        chosen = places[first : first + batch_size]
        for index in range(batch_size):
            batch[index] = image[chosen[min(index, len(chosen) - 1)]]
        logits = predict(batch)
        if logits.shape != (batch_size, *patch, outputs):
            raise ValueError(
                f"predict returned {logits.shape}, not {(batch_size, *patch, outputs)}"
            )
        for place, values in zip(chosen, logits, strict=False):
            total[place] += values * weights
    # The windows form a grid and the Gaussian is a product over axes, hence so is the sum of the
    # weights: three short vectors replace a second volume.
    for axis, (width, begins) in enumerate(zip(patch, starts, strict=True)):
        covered = np.zeros(image.shape[axis], dtype=np.float32)
        for begin in begins:
            covered[begin : begin + width] += axis_weights(width)
        total /= along(covered, axis, total.ndim)
    return total[crop] if total.shape[:3] != shape else total


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
