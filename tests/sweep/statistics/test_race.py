"""A race rarely drops the truly best, and saves trials where some are clearly worse."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
import pytest

from tests.sweep.statistics.simulated import simulate
from unet3d.sweep.statistics.race import RACE_LEVEL, behind, look_after


def run_race(scores: Sequence[np.ndarray]) -> tuple[set[int], int]:
    """Who is left of configurations with these scores, and how many trials it took."""
    (entrants, seeds, _), folds = scores[0].shape, len(scores)
    looks, alive, trials = look_after(folds, seeds), list(range(entrants)), 0
    for block in range(folds * seeds):
        trials += len(alive)
        if block + 1 not in looks or len(alive) < 2:
            continue
        seen = []
        for fold, array in enumerate(scores):
            rounds = (block - fold) // folds + 1  # of this fold, that are done
            seen.append(np.where(np.arange(seeds)[:, None] < rounds, array[alive], math.nan))
        lost = behind([one for one in seen if np.isfinite(one).any()], entrants, len(looks))
        alive = [one for at, one in enumerate(alive) if at not in lost]
    return set(alive), trials


def test_looks_come_as_soon_as_a_test_can_say_something() -> None:
    """Fold by fold at first, then once a seed, and not when all is done."""
    assert look_after(folds=5, seeds=1) == [3, 4]
    assert look_after(folds=5, seeds=3) == [3, 4, 5, 10]
    assert look_after(folds=1, seeds=4) == [2, 3]
    assert look_after(folds=2, seeds=2) == [2]


@pytest.mark.parametrize(("folds", "seeds"), [(5, 2), (1, 4)])
@pytest.mark.parametrize("means", [(0.84, 0.84, 0.84, 0.84), (0.84, 0.839, 0.838, 0.7)])
def test_the_truly_best_stays(folds: int, seeds: int, means: tuple[float, ...]) -> None:
    """With equal ones beside it, and with one that is as good but for 0.001, over all looks."""
    random, lost, rounds = np.random.default_rng(7), 0, 400
    for _ in range(rounds):
        left, _trials = run_race(simulate(random, means, folds, seeds, 12))
        lost += 0 not in left
    assert lost / rounds <= RACE_LEVEL


def test_trials_are_saved_where_some_are_clearly_worse() -> None:
    """Of six configurations, four of which are far behind, most of those are soon gone."""
    random, taken, left_in = np.random.default_rng(3), [], []
    for _ in range(50):
        left, trials = run_race(simulate(random, (0.84, 0.835, 0.7, 0.65, 0.6, 0.3), 5, 3, 20))
        taken.append(trials)
        left_in.append(len(left))
    assert np.mean(taken) < 0.6 * 6 * 15 and np.mean(left_in) < 3


def test_a_race_without_correction_would_drop_the_best() -> None:
    """As a lone comparison, looked at again and again, it would be wrong too often."""
    random, lost, rounds = np.random.default_rng(4), 0, 300
    for _ in range(rounds):
        scores = simulate(random, [0.84] * 6, 5, 1, 12)
        lost += any(
            0 in behind([one[:, :1] for one in scores[:folds]], entrants=2, looks=1)
            for folds in (3, 4, 5)
        )
    assert lost / rounds > 2 * RACE_LEVEL
