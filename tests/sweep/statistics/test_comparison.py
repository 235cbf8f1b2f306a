"""The comparison's error stays below its level, and it finds what is there."""

from __future__ import annotations

import math

import numpy as np
import pytest

from tests.sweep.statistics.simulated import simulate
from unet3d.sweep.statistics.comparison import LEVEL, best_first, compare, holm, paired
from unet3d.sweep.statistics.runs_needed import MOST_SEEDS, more_seeds

NAN = math.nan


def test_holm_as_in_the_paper() -> None:
    """The smallest p counts as many times as there are tests, the next once less."""
    adjusted, levels = holm([0.04, 0.01, 0.03])
    assert adjusted == pytest.approx([0.06, 0.03, 0.06])
    assert levels == pytest.approx([LEVEL / 2] * 3)  # one is rejected, two are left
    assert holm([0.01], tests=4)[0] == [0.04]
    assert holm([]) == ([], [])


@pytest.mark.parametrize(("folds", "seeds"), [(5, 1), (5, 2), (1, 3), (1, 1)])
def test_equal_configurations_are_rarely_distinguished(folds: int, seeds: int) -> None:
    """With four equal ones, the chance that any is called worse than the luckiest is below 5 %.

    With one trial each, seeds must make no difference: over cases alone it cannot be seen.
    """
    random, wrong, rounds = np.random.default_rng(5), 0, 400
    for _ in range(rounds):
        noise = 0.0 if folds * seeds == 1 else 0.01
        found = compare(simulate(random, [0.84] * 4, folds, seeds, 12, noise))
        wrong += len(found.open) < 3
    assert wrong / rounds <= LEVEL


def test_the_truly_best_is_rarely_called_worse() -> None:
    """Beside one that is as good but for 0.001, and two that are clearly worse."""
    random, wrong, found_worse, rounds = np.random.default_rng(6), 0, 0, 300
    for _ in range(rounds):
        found = compare(simulate(random, (0.840, 0.839, 0.78, 0.74), 5, 1, 20))
        candidates = [found.best, *found.open]
        wrong += 0 not in candidates
        found_worse += 3 not in candidates
    assert wrong / rounds <= LEVEL and found_worse / rounds > 0.9


def test_without_correction_the_error_would_be_above_its_level() -> None:
    """So the simulation can tell a wrong procedure from a right one."""
    random, wrong, rounds = np.random.default_rng(7), 0, 300
    for _ in range(rounds):
        folds = simulate(random, [0.84] * 4, 5, 1, 12)
        best = compare(folds).best
        every = [paired(folds, best, other) for other in range(4) if other != best]
        wrong += any(one is not None and one.p <= LEVEL for one in every)
    assert wrong / rounds > 2 * LEVEL


def test_a_missing_trial_does_not_make_a_configuration_better() -> None:
    """Without its difficult fold its plain mean would be the highest."""
    table = np.array([[0.9, 0.5, 0.8], [0.85, NAN, 0.75], [NAN, NAN, NAN]])
    assert best_first(table) == [0, 1, 2] and np.nanmean(table[1]) > table[0].mean()


def test_only_the_trials_that_both_have_are_compared() -> None:
    """Each case with itself; where they share none, nothing is said."""
    scores = np.array([[[0.9, 0.5, NAN]], [[0.8, 0.3, 0.1]], [[NAN, NAN, 0.6]]])
    found = paired([scores], 0, 1)
    assert found is not None and found.mean == pytest.approx(0.15)
    assert paired([scores], 0, 2) is None
    assert compare([scores]).against[2].p == 1.0


def test_many_configurations_are_corrected_no_less_strictly(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Above MOST_PAIRED only the pairs with the best are computed."""
    folds = simulate(np.random.default_rng(8), (0.84, 0.83, 0.8, 0.7, 0.6), 5, 1, 20)
    full = compare(folds)
    monkeypatch.setattr("unet3d.sweep.statistics.comparison.MOST_PAIRED", 4)
    short = compare(folds)
    assert short.order == full.order and short.tests == full.tests == 10
    assert all(short.against[i].p >= full.against[i].p for i in full.against)


def test_as_many_more_seeds_as_it_says_do_decide() -> None:
    """With so many most sweeps find the difference, with those that asked for them few."""
    random = np.random.default_rng(9)

    def sweep(seeds: int) -> np.ndarray:
        return simulate(random, (0.84, 0.82), 1, seeds, 200, 0.01)[0]

    asked = [more_seeds([scores[0] - scores[1]], LEVEL) for scores in map(sweep, [3] * 200)]
    needed = 3 + int(np.median([MOST_SEEDS if more is None else more for more in asked]))

    def power(seeds: int) -> float:
        found = [compare([sweep(seeds)]).open == [] for _ in range(200)]
        return float(np.mean(found))

    assert power(needed) > 0.6 > 0.4 > power(3)


def test_what_seeds_cannot_decide_is_said() -> None:
    """Where cases differ by more than the configurations do, and where there is one trial each."""
    random = np.random.default_rng(10)
    one, other = simulate(random, (0.84, 0.839), 1, 4, 8, 0.001)[0]
    assert more_seeds([one - other], LEVEL) is None
    assert more_seeds([(one - other)[:1]], LEVEL) is None
