"""Metrics of overlapping voxels, and volumes."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from unet3d.metrics import dice_from_counts


def overlap(
    truth: np.ndarray, prediction: np.ndarray, spacing: Sequence[float]
) -> dict[str, float]:
    """Dice, IoU, sensitivity, precision and both volumes of a region (Taha and Hanbury 2015).

    truth, prediction: boolean (x, y, z); spacing: mm along each axis.
    Returns dice, iou, sensitivity, precision in [0, 1], and volume_truth_ml, volume_prediction_ml.
    Where both masks are empty the four are 1; where one is, they are 0 (BraTS). Raises ValueError
    where the shapes differ.
    """
    if truth.shape != prediction.shape:
        raise ValueError(f"truth is {truth.shape} but prediction is {prediction.shape}")
    truth, prediction = truth.astype(bool, copy=False), prediction.astype(bool, copy=False)
    shared = int(np.count_nonzero(truth & prediction))
    true, predicted = int(np.count_nonzero(truth)), int(np.count_nonzero(prediction))
    voxel_ml = float(np.prod(check_spacing(spacing))) / 1000
    both_empty = true + predicted == 0
    return {
        "dice": float(dice_from_counts((shared, true, predicted))),
        "iou": _ratio(shared, true + predicted - shared, both_empty),
        "sensitivity": _ratio(shared, true, both_empty),
        "precision": _ratio(shared, predicted, both_empty),
        "volume_truth_ml": true * voxel_ml,
        "volume_prediction_ml": predicted * voxel_ml,
    }


def _ratio(part: int, whole: int, both_empty: bool) -> float:
    return part / whole if whole else float(both_empty)


def joint_crop(truth: np.ndarray, prediction: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Both masks, cropped to the smallest box that holds every voxel of either.

    truth, prediction: boolean or 0 and 1, (x, y, z).
    Returns boolean views of one shape, (0, 0, 0) where both are empty. Raises ValueError where
    the shapes differ or are not 3D.
    """
    if truth.shape != prediction.shape:
        raise ValueError(f"truth is {truth.shape} but prediction is {prediction.shape}")
    if truth.ndim != 3:
        raise ValueError(f"masks are {truth.shape}, not (x, y, z)")
    truth, prediction = truth.astype(bool, copy=False), prediction.astype(bool, copy=False)
    plane = (truth | prediction).any(axis=2)
    planes = [plane.any(axis=1), plane.any(axis=0)]
    box = [_occupied(inside) for inside in planes]
    # The last axis only within the box of the first two, a fraction of the volume.
    part = truth[tuple(box)] | prediction[tuple(box)]
    box.append(_occupied(part.any(axis=(0, 1))))
    return truth[tuple(box)], prediction[tuple(box)]


def _occupied(inside: np.ndarray) -> slice:
    found = np.flatnonzero(inside)
    return slice(found[0], found[-1] + 1) if found.size else slice(0, 0)


def check_spacing(spacing: Sequence[float]) -> tuple[float, float, float]:
    """`spacing` as three floats, mm; ValueError unless there are three, finite and above 0."""
    values = tuple(float(step) for step in spacing)
    if len(values) != 3 or not all(0 < step < float("inf") for step in values):
        raise ValueError(f"spacing {values} is not three lengths above 0, in mm")
    return values[0], values[1], values[2]
