"""The threshold of each region: what is counted is what masks of that threshold have."""

from __future__ import annotations

import numpy as np

from unet3d.evaluation.thresholds import (
    LEVELS,
    best_threshold,
    dice_by_threshold,
    level_counts,
    levels,
)
from unet3d.metrics import dice


def volumes(seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Probabilities and truth, of which the best threshold is about 0.3."""
    random = np.random.default_rng(seed)
    truth = random.random((12, 10, 8)) < 0.2
    shares = np.where(
        truth, random.uniform(0.25, 0.8, truth.shape), random.uniform(0, 0.35, truth.shape)
    )
    return shares.astype(np.float32), truth


def test_dice_of_a_level_is_that_of_the_mask_above_it() -> None:
    """At each threshold, as if the mask had been made."""
    shares, truth = volumes(0)
    found = dice_by_threshold(level_counts(levels(shares), truth)[np.newaxis])
    for level in (1, 20, 31, 50, 77):
        mask = shares > level / LEVELS
        assert found[0, level] == dice(truth[..., None], mask[..., None])[0]


def test_the_mean_over_cases_decides() -> None:
    """Of equally good thresholds that nearest to 0.5."""
    counts = np.stack([level_counts(levels(s), t) for s, t in map(volumes, range(4))])
    level = best_threshold(dice_by_threshold(counts))
    assert 25 <= level <= 36
    assert best_threshold(np.ones((3, LEVELS))) == 50
    assert best_threshold(np.eye(LEVELS)[[70, 70]]) == 70


def test_half_stays_half() -> None:
    """A logit of 0 is no region, as in a prediction; 0 and 1 have their levels."""
    assert levels(np.array([0.0, 0.5, 0.500001, 0.51, 0.5100001, 1.0])).tolist() == [
        *(0, 49, 50, 50, 51, 99)
    ]
