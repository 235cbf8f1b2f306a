"""The probability above which a region is predicted, chosen by mean Dice."""

from __future__ import annotations

import numpy as np

from unet3d.metrics import dice_from_counts

LEVELS = 100  # thresholds are multiples of 1 / LEVELS
HALF = LEVELS // 2


def levels(shares: np.ndarray) -> np.ndarray:
    """Probabilities as uint8: how many thresholds 1/100, 2/100, ... each is above."""
    above = np.ceil(shares.astype(np.float64) * LEVELS - 1e-6) - 1
    return np.clip(above, 0, LEVELS - 1).astype(np.uint8)


def level_counts(found: np.ndarray, inside: np.ndarray) -> np.ndarray:
    """int64 (2, LEVELS): voxels of each level, outside and inside the region.

    found: levels of any shape; inside: boolean of that shape.
    """
    return np.stack([np.bincount(found[mask], minlength=LEVELS) for mask in (~inside, inside)])


def dice_by_threshold(counts: np.ndarray) -> np.ndarray:
    """Dice of each case at each threshold, float64 (cases, LEVELS); the first stands for 0.

    counts: (cases, 2, LEVELS), of `level_counts`.
    """
    predicted = counts[..., ::-1].cumsum(axis=-1)[..., ::-1]  # at or above each level
    hits, truth = predicted[:, 1], counts[:, 1].sum(axis=-1, keepdims=True)
    return dice_from_counts((hits, truth, predicted.sum(axis=1)))


def best_threshold(dice: np.ndarray) -> int:
    """The level with the highest mean Dice; of equal ones that nearest to 0.5.

    dice: (cases, LEVELS), of `dice_by_threshold`.
    """
    mean = dice.mean(axis=0)
    order = sorted(range(1, LEVELS), key=lambda level: (-round(mean[level], 9), abs(level - HALF)))
    return order[0]
