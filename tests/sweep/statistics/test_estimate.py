"""Intervals hold the true mean as often as they say, whatever the design."""

from __future__ import annotations

import math

import numpy as np
import pytest
from scipy import stats

from tests.sweep.statistics.simulated import simulate
from unet3d.sweep.statistics.estimate import (
    CASES,
    FOLDS,
    NOTHING,
    SEEDS,
    SEEDS_AND_CASES,
    complete,
    estimate,
)

NAN = math.nan


def test_over_folds_it_is_students_t_of_their_means() -> None:
    """Seeds are averaged first: those of one fold are no independent folds."""
    random = np.random.default_rng(0)
    folds = [random.normal(size=(3, 7)) for _ in range(5)]
    found, means = estimate(folds), [fold.mean() for fold in folds]
    expected = stats.ttest_1samp(means, 0.0)
    assert (found.basis, found.parts[0].freedom) == (FOLDS, 4)
    assert found.mean == pytest.approx(np.mean(means)) and found.p == pytest.approx(expected.pvalue)
    assert found.interval() == pytest.approx(tuple(expected.confidence_interval()))


def test_over_cases_it_is_students_t_of_the_cases() -> None:
    """One trial says nothing else."""
    values = np.random.default_rng(1).normal(size=(1, 9))
    found, expected = estimate([values]), stats.ttest_1samp(values[0], 0.0)
    assert found.basis == CASES and found.p == pytest.approx(expected.pvalue)
    assert found.interval() == pytest.approx(tuple(expected.confidence_interval()))


def test_over_seeds_without_cases_it_is_students_t_of_the_trials() -> None:
    """As of a sweep whose runs have kept no Dice of each case."""
    values = np.array([[0.81], [0.82], [0.85]])
    found = estimate([values])
    assert found.basis == SEEDS
    assert found.interval() == pytest.approx(
        tuple(stats.ttest_1samp(values[:, 0], 0.0).confidence_interval())
    )


def test_one_value_has_no_interval() -> None:
    """It is not called certain."""
    found = estimate([np.array([[0.8]])])
    assert found.basis == NOTHING and math.isnan(found.half_width()) and found.p == 1.0
    with pytest.raises(ValueError, match="no fold"):
        estimate([np.full((2, 3), NAN)])


def test_what_is_missing_is_left_out() -> None:
    """A lost trial, a lost fold, and a case that one seed lacks."""
    folds = [np.array([[0.8, 0.6], [NAN, NAN]]), np.array([[0.9, NAN], [0.7, NAN]])]
    found = estimate([*folds, np.full((2, 2), NAN)])
    assert found.mean == pytest.approx((0.7 + 0.8) / 2) and found.parts[0].freedom == 1
    partly = np.array([[0.8, 0.6, 0.4], [0.9, NAN, 0.5], [NAN, NAN, NAN]])
    np.testing.assert_array_equal(complete(partly), [[0.8, 0.4], [0.9, 0.5]])


@pytest.mark.parametrize("noise", [0.0, 0.006, 0.03])
@pytest.mark.parametrize(
    ("folds", "seeds", "basis"),
    [(5, 1, FOLDS), (5, 2, FOLDS), (1, 2, SEEDS_AND_CASES), (1, 5, SEEDS_AND_CASES)],
)
def test_intervals_of_differences_hold_the_truth(
    folds: int, seeds: int, basis: str, noise: float
) -> None:
    """In 95 of 100 simulated sweeps or more, with little and with much noise of seeds."""
    random, held, rounds = np.random.default_rng(4), 0, 1500
    for _ in range(rounds):
        folds_of_both = simulate(random, (0.84, 0.83), folds, seeds, 15, noise)
        found = estimate([one - other for one, other in folds_of_both])
        low, high = found.interval()
        held += low <= 0.01 <= high
        assert found.basis == basis
    assert held / rounds >= 0.95 - 0.011  # two standard errors of so many rounds
