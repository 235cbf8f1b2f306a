"""A mean over cases, seeds and folds, with the interval that its design allows."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

# For each fold an array (seeds, cases), NaN where a trial or a case is missing. Without folds: one.
Scores = Sequence[np.ndarray]
FOLDS, SEEDS_AND_CASES, SEEDS, CASES, NOTHING = "folds", "seeds and cases", "seeds", "cases", ""


@dataclass(frozen=True)
class Part:
    """A share of the squared error of a mean, and the degrees of freedom that it is known by."""

    squared: float
    freedom: float


@dataclass(frozen=True)
class Estimate:
    """A mean and how sure it is.

    parts: of its squared error, none where one value is all there is; basis: over what they were
    taken, one of FOLDS, SEEDS_AND_CASES, SEEDS, CASES, NOTHING.
    """

    mean: float
    parts: tuple[Part, ...] = ()
    basis: str = NOTHING

    @property
    def error(self) -> float:
        """The standard error, NaN where it is not known."""
        return math.sqrt(sum(part.squared for part in self.parts)) if self.parts else math.nan

    def half_width(self, level: float = 0.05) -> float:
        """Of the interval that holds the true mean but for `level`; NaN where there is none."""
        return half_width(self.parts, level)

    def interval(self, level: float = 0.05) -> tuple[float, float]:
        """The interval itself."""
        half = self.half_width(level)
        return self.mean - half, self.mean + half

    @property
    def p(self) -> float:
        """Of the two-sided test that the true mean is 0: the level whose interval ends there."""
        return p_value(self.mean, self.parts)


def half_width(parts: Sequence[Part], level: float) -> float:
    """Half of an interval around a mean whose squared error has these parts.

    With one it is Student's t. With several it holds the truth at least as often as it says,
    however large each part is (Banerjee 1960, Sankhya 22); a single number of degrees of freedom
    for them all, as by Satterthwaite, does not when one is known by two or three seeds.
    """
    if not parts:
        return math.nan
    return math.sqrt(sum(t_quantile(level / 2, one.freedom) ** 2 * one.squared for one in parts))


def p_value(mean: float, parts: Sequence[Part]) -> float:
    """The level at which the interval around `mean` ends at 0; 1 where nothing is known."""
    known = [part for part in parts if part.squared > 0]
    if not parts or mean == 0:
        return 1.0
    if not known:
        return 0.0
    if len(known) == 1:
        return 2 * t_tail(abs(mean) / math.sqrt(known[0].squared), known[0].freedom)
    from scipy.optimize import brentq

    def beyond(exponent: float) -> float:
        return half_width(known, 10.0**exponent) - abs(mean)

    smallest = -12.0
    return 10 ** brentq(beyond, smallest, 0.0) if beyond(smallest) > 0 else 10**smallest


def t_quantile(tail: float, freedom: float) -> float:
    """The value that Student's t is above with probability `tail`; NaN without freedom."""
    from scipy.special import stdtrit

    return float(-stdtrit(freedom, tail)) if freedom > 0 else math.nan


def t_tail(value: float, freedom: float) -> float:
    """The probability that Student's t is above `value`."""
    from scipy.special import stdtr

    return float(stdtr(freedom, -value))


def estimate(scores: Scores) -> Estimate:
    """The mean of one configuration, or of its differences from another, case by case.

    Folds weigh the same, and so do the seeds within one. What the error counts:
    - with folds, all that differs between them, cases, seeds and training sets: Student's t over
      the means of the folds;
    - with seeds on one split, seeds and cases, both as random, as readers and cases are in
      diagnostic studies (Dorfman, Berbaum and Metz 1992);
    - with one trial, its cases alone.

    Raises ValueError without any value.
    """
    folds = [fold for fold in scores if np.isfinite(fold).any()]
    if not folds:
        raise ValueError("no fold has a value")
    means = np.array([fold_mean(fold) for fold in folds])
    mean, count = float(means.mean()), len(means)
    if count > 1:
        return Estimate(mean, (_of_mean(means),), FOLDS)
    table = complete(folds[0])
    seeds, cases = table.shape
    if seeds > 1 and cases > 1:
        return Estimate(mean, crossed_parts(table), SEEDS_AND_CASES)
    if seeds > 1:
        return Estimate(mean, (_of_mean(table[:, 0]),), SEEDS)
    if cases > 1:
        return Estimate(mean, (_of_mean(table[0]),), CASES)
    return Estimate(mean)


def fold_mean(fold: np.ndarray) -> float:
    """The mean of the trials of one fold (seeds, cases), each that of its cases."""
    return float(np.mean(trial_means(fold)))


def trial_means(fold: np.ndarray) -> np.ndarray:
    """The mean over cases of each seed that has some."""
    there = fold[np.isfinite(fold).any(axis=1)]
    return np.nanmean(there, axis=1)


def complete(fold: np.ndarray) -> np.ndarray:
    """The seeds that have values, on the cases that all of these have; else their means."""
    there = fold[np.isfinite(fold).any(axis=1)]
    shared = there[:, np.isfinite(there).all(axis=0)]
    return shared if shared.shape[1] else trial_means(fold)[:, None]


def crossed_parts(table: np.ndarray) -> tuple[Part, Part]:
    """What seeds and what cases add to the squared error of the mean of (seeds, cases).

    Each holds what is left when both are taken off, so that their sum is rather too large.
    """
    return _of_mean(table.mean(axis=1)), _of_mean(table.mean(axis=0))


def _of_mean(values: np.ndarray) -> Part:
    return Part(float(values.var(ddof=1)) / len(values), len(values) - 1)
