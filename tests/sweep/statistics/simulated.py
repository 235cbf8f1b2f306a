"""Scores of configurations with known true means and known noise."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

# Deviations as of Dice on brain tumours: cases differ by far more than seeds do.
CASE, CASE_BY_CONFIGURATION, FOLD, SEED, REST = 0.1, 0.03, 0.006, 0.006, 0.01


def simulate(
    random: np.random.Generator,
    means: Sequence[float],
    folds: int,
    seeds: int,
    cases: int,
    seed_noise: float = SEED,
) -> list[np.ndarray]:
    """For each fold (configurations, seeds, cases), whose expected values are `means`.

    Some cases are difficult for all configurations, some for one; a training set suits one more
    than another; each training ends elsewhere.
    """
    count, found = len(means), []
    for _ in range(folds):
        case = random.normal(0, CASE, (1, 1, cases))
        own = random.normal(0, CASE_BY_CONFIGURATION, (count, 1, cases))
        fold = random.normal(0, FOLD if folds > 1 else 0, (count, 1, 1))
        seed = random.normal(0, seed_noise, (count, seeds, 1))
        rest = random.normal(0, REST, (count, seeds, cases))
        found.append(np.asarray(means)[:, None, None] + case + own + fold + seed + rest)
    return found
