"""Resampling to another spacing as nnU-Net does it: cubic for images, by label for labels.

Splines are separable, so resampling is a matrix along each axis: fewer operations than a spline in
three dimensions, and fast ones. The matrices are scipy's `zoom` of the unit vectors.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import lru_cache
from typing import Any

import numpy as np

NEAREST, LINEAR, CUBIC = 0, 1, 3  # orders of a spline
ANISOTROPIC = 3.0  # ratio of spacings above which the coarsest axis is resampled apart


def coarse_axis(spacing: Sequence[float], target: Sequence[float]) -> int | None:
    """The axis along which voxels are taken over and not interpolated, if any.

    spacing, target: mm before and after. It is the one of the largest spacing where the spacings
    before, or else those after, differ by more than ANISOTROPIC (Isensee et al. 2021).
    """
    for mm in (spacing, target):
        if max(mm) > ANISOTROPIC * min(mm):
            coarse = [axis for axis in range(3) if mm[axis] == max(mm)]
            return coarse[0] if len(coarse) == 1 else None
    return None


def resample_image(
    volume: np.ndarray, shape: Sequence[int], coarse: int | None = None
) -> np.ndarray:
    """`volume` (x, y, z) at `shape`, float32, by cubic splines that stay within its range.

    coarse: the axis of `coarse_axis`; the range is then that of each slice, as in nnU-Net.
    """
    if volume.shape == tuple(shape):
        return volume
    planes = tuple(axis for axis in range(3) if axis != coarse)
    low, high = (limit(volume, axis=planes, keepdims=True) for limit in (np.min, np.max))
    matrices = _matrices(volume.shape, shape, CUBIC, coarse)
    if coarse is not None:
        low, high = (_along(matrices[coarse], limit, coarse) for limit in (low, high))
    result = _resampled(np.asarray(volume, np.float32), matrices)
    return np.clip(result, low, high, out=result)


def resample_linear(
    volume: np.ndarray, shape: Sequence[int], coarse: int | None = None
) -> np.ndarray:
    """`volume` (x, y, z), float32, at `shape`, linearly, as nnU-Net does it to probabilities."""
    return _resampled(volume, _matrices(volume.shape, shape, LINEAR, coarse))


def resample_labels(
    labels: np.ndarray, shape: Sequence[int], coarse: int | None = None
) -> np.ndarray:
    """Labels (x, y, z), integers, at `shape`: each voxel gets the label that most of it has.

    The mask of each label is resampled linearly and the largest wins, of equals the larger label.
    coarse: the axis of `coarse_axis`. dtype kept.
    """
    if labels.shape == tuple(shape):
        return labels
    matrices = _matrices(labels.shape, shape, LINEAR, coarse)
    result: np.ndarray = np.zeros(shape, labels.dtype)
    most: np.ndarray = np.zeros(shape, np.float32)
    for value, box in _label_boxes(labels):
        parts = [matrix[:, part] for matrix, part in zip(matrices, box, strict=True)]
        reached = [np.flatnonzero(part.any(axis=1)) for part in parts]
        if not all(len(rows) for rows in reached):
            continue
        target: Any = tuple(slice(rows[0], rows[-1] + 1) for rows in reached)
        mask = np.asarray(labels[box] == value, np.float32)
        pairs = zip(parts, target, strict=True)
        share = _resampled(mask, [part[rows] for part, rows in pairs])
        wins = share >= most[target]
        result[target][wins] = value
        most[target][wins] = share[wins]
    return result


def _label_boxes(labels: np.ndarray) -> Iterator[tuple[int, tuple[slice, ...]]]:
    """Each label value that occurs, in order, and the box it lies in; all of the volume for 0."""
    from scipy.ndimage import find_objects

    yield 0, tuple(slice(0, size) for size in labels.shape)
    for value, box in enumerate(find_objects(labels), start=1):
        if box is not None:
            yield value, box


def _matrices(
    before: Sequence[int], after: Sequence[int], order: int, coarse: int | None
) -> list[np.ndarray]:
    sizes = enumerate(zip(before, after, strict=True))
    return [_matrix(old, new, NEAREST if axis == coarse else order) for axis, (old, new) in sizes]


@lru_cache(maxsize=24)
def _matrix(old: int, new: int, order: int) -> np.ndarray:
    """float32 (new, old): the weights of the voxels before for each voxel after.

    The outer faces of the grid stay where they are.
    """
    from scipy.ndimage import zoom

    identity: np.ndarray = np.eye(old, dtype=np.float32)
    if old == new:
        matrix = identity
    elif order == NEAREST:  # of equally near ones the later, as in nnU-Net
        middles = old / new * (np.arange(new) + 0.5) - 0.5
        matrix = identity[np.clip(np.floor(middles + 0.5).astype(int), 0, old - 1)]
    else:
        unit = np.eye(old)
        matrix = zoom(unit, (new / old, 1), order=order, mode="nearest", grid_mode=True)
        matrix = matrix.astype(np.float32)
    matrix.flags.writeable = False  # shared by all callers
    return matrix


def _resampled(volume: np.ndarray, matrices: Sequence[np.ndarray]) -> np.ndarray:
    """`volume` with a matrix applied along each axis, those that shrink it most first."""
    order = sorted(range(3), key=lambda axis: len(matrices[axis]) / matrices[axis].shape[1])
    for axis in order:
        volume = _along(matrices[axis], volume, axis)
    return volume


def _along(matrix: np.ndarray, volume: np.ndarray, axis: int) -> np.ndarray:
    if axis == 2:
        return volume @ matrix.T
    if axis == 1:
        return matrix @ volume
    flat = matrix @ volume.reshape(len(volume), -1)
    return flat.reshape(len(matrix), *volume.shape[1:])
