"""The part of two masks that counts: the box around both."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np


def joint_crop(truth: np.ndarray, prediction: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Both masks, cut to the smallest box that holds every voxel of either.

    truth, prediction: boolean or 0 and 1, (x, y, z).
    Returns boolean views of one shape, (0, 0, 0) where both are empty. Raises ValueError where the
    shapes differ or are not those of volumes.
    """
    if truth.shape != prediction.shape:
        raise ValueError(f"truth is {truth.shape} but prediction is {prediction.shape}")
    if truth.ndim != 3:
        raise ValueError(f"masks are {truth.shape}, not (x, y, z)")
    truth, prediction = truth.astype(bool, copy=False), prediction.astype(bool, copy=False)
    plane = (truth | prediction).any(axis=2)
    planes = [plane.any(axis=1), plane.any(axis=0)]
    box = [_extent(inside) for inside in planes]
    # The last axis within the first two's box only: a fraction of the volume.
    part = truth[tuple(box)] | prediction[tuple(box)]
    box.append(_extent(part.any(axis=(0, 1))))
    return truth[tuple(box)], prediction[tuple(box)]


def _extent(inside: np.ndarray) -> slice:
    found = np.flatnonzero(inside)
    return slice(found[0], found[-1] + 1) if found.size else slice(0, 0)


def check_spacing(spacing: Sequence[float]) -> tuple[float, float, float]:
    """`spacing` as three floats, mm; ValueError unless there are three, finite and above 0."""
    values = tuple(float(step) for step in spacing)
    if len(values) != 3 or not all(0 < step < float("inf") for step in values):
        raise ValueError(f"spacing {values} is not three lengths above 0, in mm")
    return values[0], values[1], values[2]
