"""Metrics of shared voxels, and volumes."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from unet3d.evaluation.crop import check_spacing
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
        "iou": _share(shared, true + predicted - shared, both_empty),
        "sensitivity": _share(shared, true, both_empty),
        "precision": _share(shared, predicted, both_empty),
        "volume_truth_ml": true * voxel_ml,
        "volume_prediction_ml": predicted * voxel_ml,
    }


def _share(part: int, whole: int, both_empty: bool) -> float:
    return part / whole if whole else float(both_empty)
