"""Resampling to another voxel spacing, with the outer faces of the grid kept in place."""

from __future__ import annotations

import numpy as np


def resampled_shape(
    shape: tuple[int, ...], spacing: tuple[float, ...], target: list[float] | None
) -> tuple[int, ...]:
    """The shape at spacing `target` (mm; None: as it is), at least one voxel an axis."""
    if target is None:
        return tuple(shape)
    sizes = zip(shape, spacing, target, strict=True)
    return tuple(max(1, round(n * old / new)) for n, old, new in sizes)


def resample(volume: np.ndarray, shape: tuple[int, ...], order: int) -> np.ndarray:
    """`volume` (x, y, z) at `shape`: linear for order 1, nearest for order 0; dtype kept."""
    from scipy.ndimage import zoom

    if volume.shape == tuple(shape):
        return volume
    factors = [new / old for new, old in zip(shape, volume.shape, strict=True)]
    return zoom(volume, factors, order=order, mode="nearest", grid_mode=True)
