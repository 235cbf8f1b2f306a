"""Which configuration is best, and which others cannot be distinguished from it."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import combinations

import numpy as np

from unet3d.sweep.statistics.estimate import Estimate, Scores, estimate

LEVEL = 0.05  # of all tests together
MOST_PAIRED = 48  # configurations of which all pairs are tested


@dataclass(frozen=True)
class Against:
    """A configuration beside the best one. difference: its own mean less that of the best, over
    the cases of the trials that both have; p: of the family of all tests."""

    difference: Estimate
    p: float
    level: float  # that its own test would have to reach

    @property
    def distinguished(self) -> bool:
        """Whether it is worse than the best by more than chance."""
        return self.p <= LEVEL


@dataclass(frozen=True)
class Comparison:
    """order: indices of the configurations, the best first; against: by index, all but the best;
    tests: in the family."""

    order: tuple[int, ...]
    against: dict[int, Against]
    tests: int

    @property
    def best(self) -> int:
        """The index of the best."""
        return self.order[0]

    @property
    def open(self) -> list[int]:
        """Those that cannot be distinguished from the best, in order."""
        return [i for i in self.order[1:] if not self.against[i].distinguished]


def compare(folds: Sequence[np.ndarray], looks: int = 1) -> Comparison:
    """Compare configurations by paired tests, corrected by Holm (1979).

    folds: for each fold an array (configurations, seeds, cases), NaN where something is missing.
    looks: what each p counts for, where these are not the only tests, as after a race.

    The best is chosen by the same values, so its tests against the others are no family of their
    own: all pairs are. The chance that any statement "worse than the best" is wrong is below LEVEL.
    With more than MOST_PAIRED configurations only the pairs with the best are computed; they are
    corrected as if none of the other pairs could be rejected, which is never less strict.
    """
    count = folds[0].shape[0]
    order = tuple(best_first(run_means(folds)))
    best, tests = order[0], count * (count - 1) // 2
    pairs = [(min(best, i), max(best, i)) for i in range(count) if i != best]
    if count <= MOST_PAIRED:
        pairs = list(combinations(range(count), 2))
    found = [paired(folds, a, b) for a, b in pairs]
    adjusted, levels = holm([one.p if one else 1.0 for one in found], tests)
    against = {}
    for (a, b), one, p, level in zip(pairs, found, adjusted, levels, strict=True):
        if best in (a, b):
            other = a if b == best else b
            unknown = Estimate(math.nan)
            difference = unknown if one is None else one if other == a else _negative(one)
            against[other] = Against(difference, min(1.0, p * looks), level / looks)
    return Comparison(order, against, tests)


def paired(folds: Sequence[np.ndarray], a: int, b: int) -> Estimate | None:
    """Configuration a less b, case by case of each trial that both have; None without any."""
    differences: Scores = [fold[a] - fold[b] for fold in folds]
    if not any(np.isfinite(one).any() for one in differences):
        return None
    return estimate(differences)


def _negative(one: Estimate) -> Estimate:
    return Estimate(-one.mean, one.parts, one.basis)


def holm(p: Sequence[float], tests: int | None = None) -> tuple[list[float], list[float]]:
    """Holm's adjusted p of each test, and the level at which those not rejected were tested.

    tests: in the family, where there are more than those of `p`; the others count as not rejected.
    """
    left, highest, rejected = tests or len(p), 0.0, 0
    adjusted, in_order = [1.0] * len(p), sorted(range(len(p)), key=lambda index: p[index])
    for at in in_order:
        highest = max(highest, min(1.0, left * p[at]))
        adjusted[at] = highest
        rejected += highest <= LEVEL
        left -= 1
    open_ = max(1, (tests or len(p)) - rejected)
    return adjusted, [LEVEL / open_] * len(p)


def run_means(folds: Sequence[np.ndarray]) -> np.ndarray:
    """The mean of each trial over its cases: (configurations, folds * seeds), NaN without one."""
    columns = []
    for fold in folds:
        there = np.isfinite(fold)
        sums, counts = np.where(there, fold, 0.0).sum(axis=2), there.sum(axis=2)
        columns.append(np.where(counts > 0, sums / np.maximum(counts, 1), math.nan))
    return np.concatenate(columns, axis=1)


def best_first(table: np.ndarray) -> list[int]:
    """The rows (configurations, blocks) by their means, the highest first; those without last.

    Where values are missing, by least squares: a value is its row's mean and its block's effect,
    so that a row is not better for lack of a difficult block. The first is one of those with the
    most values, as a configuration that was given up or has failed is no answer.
    """
    there = np.isfinite(table)
    if table.size and there.all():
        means = table.mean(axis=1)
    else:
        means = np.full(len(table), -math.inf)
        rows, blocks = np.nonzero(there)
        design = np.zeros((len(rows), sum(table.shape)))
        design[np.arange(len(rows)), rows] = 1.0
        design[np.arange(len(rows)), len(table) + blocks] = 1.0
        if len(rows):
            effects = np.linalg.lstsq(design, table[there], rcond=None)[0][: len(table)]
            means = np.where(there.any(axis=1), effects, -math.inf)
    order = sorted(range(len(means)), key=lambda i: (-round(float(means[i]), 12), i))
    counts = there.sum(axis=1)
    best = next((i for i in order if counts[i] == counts.max()), None)
    return order if best is None else [best, *(i for i in order if i != best)]
