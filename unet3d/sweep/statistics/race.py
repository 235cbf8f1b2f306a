"""A race of configurations: those that will not be the best are dropped as folds and seeds end.

Birattari et al. (2002, GECCO) race configurations of an algorithm over instances by paired tests;
here a fold with a seed is an instance. Theirs test by ranks (F-Race) or, as here, by t with a
correction for several tests (t-Race).
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from unet3d.sweep.statistics.comparison import LEVEL, paired, run_means

RACE_LEVEL = LEVEL / 2  # of all that a race drops; the rest is for the comparison at its end
FIRST_FOLDS = 3  # before a t over folds says anything


def look_after(folds: int, seeds: int) -> list[int]:
    """After how many blocks a race looks, block by block in the first round, then each round.

    A block is one fold with one seed; a round, all folds with one seed. folds: 1 without; seeds:
    the most rounds. After the last block there is nothing left to save.
    """
    first = 2 if folds == 1 else min(FIRST_FOLDS, folds)
    in_rounds = [folds * number for number in range(2, seeds + 1)]
    looks = sorted({*range(first, folds + 1), *in_rounds}) if folds > 1 else in_rounds
    return [blocks for blocks in looks if blocks < folds * seeds]


def behind(
    folds: Sequence[np.ndarray], entrants: int, looks: int
) -> dict[int, tuple[int, float, float]]:
    """The configurations to drop: index -> (the one that beats it, their difference, its p).

    folds: for each fold (configurations, seeds, cases), of those still in the race. entrants: how
    many began it; looks: in all. The chance that the truly best is dropped, at any look and by any
    other, is at most RACE_LEVEL: each one-sided test has its share of that (Bonferroni).
    """
    level = RACE_LEVEL / (max(1, entrants - 1) * max(1, looks))
    means = np.nanmean(run_means(folds), axis=1)
    found: dict[int, tuple[int, float, float]] = {}
    for loser in range(len(means)):
        for winner in np.argsort(-means):
            if means[winner] <= means[loser]:
                break
            one = paired(folds, loser, int(winner))
            if one is not None and one.mean < 0 and one.p / 2 <= level:
                found[loser] = (int(winner), one.mean, one.p / 2)
                break
    return found
