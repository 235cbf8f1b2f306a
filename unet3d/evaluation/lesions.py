"""Metrics that give each lesion the same weight, however large it is."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from unet3d.evaluation.overlap import joint_crop
from unet3d.masks import connected_parts

DILATION = 3  # voxels; BraTS 2023 takes 3 for gliomas, 1 for meningiomas and metastases


class LesionScores(NamedTuple):
    """Lesions found, made up (false positives) and missed, and two scores in [0, 1]."""

    found: int
    made_up: int
    missed: int
    dice: float
    f1: float


def lesion_scores(
    truth: np.ndarray, prediction: np.ndarray, dilation: int = DILATION
) -> LesionScores:
    """Lesion-wise Dice and F1 in the manner of BraTS 2023 (Saluja et al. 2023).

    truth, prediction: boolean (x, y, z); dilation: in voxels, whatever the spacing.

    Truth: the mask is dilated `dilation` times with the 18-neighbourhood. A lesion is the truth
    within one 26-connected part of that, hence parts close to each other are one lesion.
    Prediction: each 26-connected part of the mask, not dilated, is one part.
    Match: a lesion and every predicted part that shares a voxel with the dilated lesion; one part
    may match several lesions. A lesion with a match is found (TP), one without is missed (FN); a
    part that matches no lesion is made up (FP).

    Dice of a found lesion is that of its voxels, not dilated, and all its matches together.
    Lesion-wise Dice is their sum / (TP + FP + FN); F1 is 2 TP / (2 TP + FP + FN). Both are 1 where
    both masks are empty. BraTS also leaves out lesions of at most 50 mm^3 (2 for metastases);
    here every one counts. Raises ValueError where the shapes differ or dilation is below 0.
    """
    if dilation < 0:
        raise ValueError(f"dilation {dilation} must be 0 or more")
    # Cropping is safe: whatever meets outside the box also meets on its border.
    truth, prediction = joint_crop(truth, prediction)
    if truth.size == 0:
        return LesionScores(0, 0, 0, 1.0, 1.0)
    zones, lesions = connected_parts(_dilate(truth, dilation))
    parts, predicted = connected_parts(prediction)
    touching = prediction & (zones > 0)
    # One number per pair, as NumPy sorts numbers far faster than rows.
    pairs = np.unique(zones[touching] * np.int64(predicted + 1) + parts[touching])
    matched, matches = np.divmod(pairs, predicted + 1)
    sizes = np.bincount(parts.ravel())
    match_voxels = np.bincount(matched, weights=sizes[matches], minlength=lesions + 1)
    # All predicted voxels in a lesion belong to its matches, as the zone contains the lesion.
    shared = np.bincount(zones[truth & prediction], minlength=lesions + 1)
    voxels = np.bincount(zones[truth], minlength=lesions + 1)
    found = np.unique(matched)
    made_up = predicted - np.unique(matches).size
    dices = 2 * shared[found] / (voxels[found] + match_voxels[found])
    return LesionScores(
        found.size,
        made_up,
        lesions - found.size,
        float(dices.sum()) / (lesions + made_up),
        2 * found.size / (found.size + lesions + made_up),
    )


def _dilate(mask: np.ndarray, times: int) -> np.ndarray:
    from scipy import ndimage

    if times == 0:  # SciPy reads 0 as "until nothing changes"
        return mask
    neighbours = ndimage.generate_binary_structure(3, 2)
    return ndimage.binary_dilation(mask, neighbours, iterations=times)
