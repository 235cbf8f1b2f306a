"""How many more trials would decide between two configurations."""

from __future__ import annotations

import numpy as np

from unet3d.sweep.statistics.estimate import (
    CASES,
    FOLDS,
    NOTHING,
    SEEDS_AND_CASES,
    Part,
    Scores,
    estimate,
    half_width,
    trial_means,
)

POWER = 0.8
MOST_SEEDS = 100  # in all, above which nobody would train


def more_seeds(differences: Scores, level: float) -> int | None:
    """Further seeds on each fold until a difference as large as this one would be found.

    differences: case by case, as of `estimate`; level: of its two-sided test. With probability
    POWER (Cohen 1988). None where no number up to MOST_SEEDS would do, as what cases and folds
    change does not become less by seeds, and where one trial says nothing about seeds.
    """
    found = estimate(differences)
    if found.basis in (NOTHING, CASES) or found.mean == 0:
        return None
    folds = [fold for fold in differences if np.isfinite(fold).any()]
    seeds = max(len(trial_means(fold)) for fold in folds)
    if found.basis == FOLDS:  # their number stays, and all parts are known by it
        a_seed, freedom = _seed_part(folds, found.error**2), found.parts[0].freedom
        rest = Part(max(found.error**2 - a_seed / seeds, 0.0), freedom)
    else:
        a_seed = found.parts[0].squared * seeds
        rest = found.parts[1] if found.basis == SEEDS_AND_CASES else Part(0.0, 1.0)
    for number in range(seeds + 1, MOST_SEEDS + 1):
        squared = a_seed / number
        parts: tuple[Part, ...] = (Part(squared, number - 1), rest)
        if found.basis == FOLDS:
            parts = (Part(squared + rest.squared, rest.freedom),)
        power = half_width(parts, 2 * (1 - POWER))
        if abs(found.mean) >= half_width(parts, level) + power:
            return number - seeds
    return None


def _seed_part(folds: Scores, squared_error: float) -> float:
    """What one seed on each fold adds to the squared error of the mean over folds.

    Measured between the seeds of a fold; with one seed, what is left of the error between folds
    when that of their cases is taken off.
    """
    count = len(folds)
    spreads = [float(means.var(ddof=1)) for f in folds if len(means := trial_means(f)) > 1]
    if spreads:
        return float(np.mean(spreads)) / count
    of_cases = 0.0
    for fold in folds:
        values = fold[np.isfinite(fold)]
        of_cases += float(values.var(ddof=1)) / len(values) if len(values) > 1 else 0.0
    return max(squared_error - of_cases / count**2, 0.0)
