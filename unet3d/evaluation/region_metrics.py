"""All metrics of one region of one case."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from unet3d.evaluation.lesions import lesion_scores
from unet3d.evaluation.overlap import joint_crop, overlap
from unet3d.evaluation.surface import assd, hausdorff, surface_dice, surface_distances

METRICS = (
    *("dice", "iou", "sensitivity", "precision", "hd", "hd95", "assd", "nsd"),
    *("volume_truth_ml", "volume_prediction_ml", "lesion_dice", "lesion_f1"),
)  # of evaluate_masks
ScoreRow = tuple[str, str, dict[str, float]]  # case, region, metrics by name


def evaluate_masks(
    truth: np.ndarray, prediction: np.ndarray, spacing: Sequence[float], tolerance: float = 1.0
) -> dict[str, float]:
    """Overlap, surface and lesion-wise metrics of a region, as each module defines them.

    truth, prediction: boolean (x, y, z); spacing: mm along each axis; tolerance: mm, of NSD.
    Returns dice, iou, sensitivity, precision, nsd, lesion_dice, lesion_f1 in [0, 1]; hd, hd95,
    assd in mm; volume_truth_ml, volume_prediction_ml.
    Both masks empty: 1, and 0 mm. One empty: 0, and `surface.WORST_MM` (BraTS).
    Raises ValueError where the shapes differ, or for an impossible spacing or tolerance.
    """
    # Once here, so that each metric only looks at the box.
    truth, prediction = joint_crop(truth, prediction)
    shared = overlap(truth, prediction, spacing)
    distances = surface_distances(truth, prediction, spacing)
    lesions = lesion_scores(truth, prediction)
    return {
        "dice": shared["dice"],
        "iou": shared["iou"],
        "sensitivity": shared["sensitivity"],
        "precision": shared["precision"],
        "hd": hausdorff(distances),
        "hd95": hausdorff(distances, 95),
        "assd": assd(distances),
        "nsd": surface_dice(distances, tolerance),
        "volume_truth_ml": shared["volume_truth_ml"],
        "volume_prediction_ml": shared["volume_prediction_ml"],
        "lesion_dice": lesions.dice,
        "lesion_f1": lesions.f1,
    }
