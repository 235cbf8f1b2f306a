"""Races and searches over configurations: what is run, what is dropped, what comes of it."""

from __future__ import annotations

import json
import random as standard_random
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from optuna.trial import TrialState

from tests.small import small_config
from tests.sweep.search.test_search import finished, search
from unet3d.config.schema import SweepConfig
from unet3d.errors import ConfigError
from unet3d.sweep.configurations import most_seeds
from unet3d.sweep.search.race import RaceSearch, read_race
from unet3d.sweep.search.repeated import RepeatedSearch
from unet3d.sweep.search.rules import check_race
from unet3d.sweep.sweep_folder import TrialRecord
from unet3d.sweep.trial import Trial, TrialResult
from unet3d.sweep.verdict.verdict import verdict

MEANS = (0.84, 0.838, 0.5, 0.3)
Race = Callable[..., RaceSearch]


@pytest.fixture
def race(tmp_path: Path) -> Race:
    """Makes a race of four rates over five folds."""
    config = small_config(tmp_path)

    def make_trial(at: int, fold: int, seed: int) -> Trial:
        swept = {"lr": str(at), "data.fold": str(fold), "seed": str(seed)}
        return Trial((seed * 5 + fold) * len(MEANS) + at, (), swept, config)

    def make(planned: int = 2, most: int = 4) -> RaceSearch:
        names = [f"lr={at}" for at in range(len(MEANS))]
        return RaceSearch(names, make_trial, 5, planned, most, tmp_path / "race.json")

    return make


def value_of(trial: Trial) -> float:
    """The same for a trial whenever it is run."""
    at, fold, seed = (int(trial.swept[key]) for key in ("lr", "data.fold", "seed"))
    noise = np.random.default_rng([at, fold, seed]).normal(0, 0.01)
    return MEANS[at] + 0.02 * fold + noise


def run(found: RaceSearch, at_once: int, order: int = 0) -> list[Trial]:
    """All its trials, so many at once, which end in any order."""
    shuffle = standard_random.Random(order)
    running: list[Trial] = []
    done: list[Trial] = []
    while True:
        while len(running) < at_once and (trial := found.next()) is not None:
            running.append(trial)
        if not running:
            return done
        trial = running.pop(shuffle.randrange(len(running)))
        pruned = found.should_prune(trial, 1, 0.1)
        state = "pruned" if pruned else "finished"
        found.tell(trial, TrialResult(state, best=value_of(trial), run_id=str(trial.number)))
        done.append(trial)


def test_poor_configurations_are_dropped_and_close_ones_go_on(race: Race, tmp_path: Path) -> None:
    """The poor run three or four folds of ten trials; the close ones more than planned."""
    found = race()
    done = run(found, at_once=1)
    runs = [sum(trial.swept["lr"] == str(at) for trial in done) for at in range(len(MEANS))]
    assert [one.configuration for one in found.dropped] == ["lr=2", "lr=3"]
    assert runs[2] in (3, 4) and runs[3] in (3, 4) and runs[0] == runs[1] == 15
    assert len(done) <= 40 and found.total == found.issued == len(done)
    kept = read_race(tmp_path / "race.json")
    assert kept is not None and kept.entrants == 4 and len(kept.dropped) == 2
    assert all(kept.adjusted(one) <= 0.05 for one in kept.dropped)
    assert read_race(tmp_path / "none.json") is None


def test_the_race_is_the_same_in_whatever_order_trials_end(race: Race) -> None:
    """Many at once, or resumed: a look compares what it says, and nothing that came earlier."""
    expected = run(found := race(), at_once=1)
    for order in range(3):
        again = race()
        done = run(again, at_once=7, order=order)
        assert again.dropped == found.dropped
        planned = {trial.number for trial in expected if trial.swept["seed"] in ("0", "1")}
        assert planned <= {trial.number for trial in done}


def test_at_most_as_many_seeds_as_are_set(race: Race) -> None:
    """Also where more has been saved."""
    done = run(race(most=2), at_once=2)
    assert {trial.swept["seed"] for trial in done} == {"0", "1"}


def test_a_stopped_trial_is_waited_for(race: Race) -> None:
    """The user has stopped it: it has said nothing yet."""
    found = race()
    trial = found.next()
    assert trial is not None
    found.tell(trial, TrialResult("stopped", best=0.1))
    assert not found.records


def test_the_verdict_tells_whom_the_race_has_dropped(race: Race, tmp_path: Path) -> None:
    """They are no part of the last tests, and the method names its source."""
    found = race()
    run(found, at_once=1)
    trials: list[TrialRecord] = list(found.records.values())
    result = verdict(trials, str(tmp_path), read_race(tmp_path / "race.json"))
    assert result is not None
    assert [row.standing for row in result.rows[2:]] == ["dropped", "dropped"]
    assert result.answer.endswith("the race has dropped two others")
    text = " ".join(result.method)
    assert "Birattari et al. 2002" in text and "lr=3 is dropped after 3 trials" in text


@pytest.mark.parametrize(
    ("settings", "problem"),
    [
        (
            SweepConfig(racing=True),
            "sweep.racing: compares .* over folds or seeds; type sweep.fold",
        ),
        (
            SweepConfig(racing=True, folds=3, early_stopping="asha"),
            "leave out sweep.early_stopping",
        ),
        (SweepConfig(racing=True, seeds=3, max_seeds=2), "sweep.max_seeds: 2 is below sweep.seeds"),
        (SweepConfig(max_seeds=2), "sweep.max_seeds: is of sweep.racing=true"),
    ],
)
def test_what_contradicts_a_race_is_one_line(settings: SweepConfig, problem: str) -> None:
    """Before any work."""
    with pytest.raises(ConfigError, match=problem) as error:
        check_race(settings)
    assert "\n" not in str(error.value)


def test_a_race_goes_on_to_twice_its_seeds() -> None:
    """Or to three, or to what is set."""
    assert [most_seeds(SweepConfig(seeds=n)) for n in (1, 2, 5)] == [3, 4, 10]
    assert most_seeds(SweepConfig(max_seeds=1)) == 1


@pytest.fixture
def repeated(tmp_path: Path) -> RepeatedSearch:
    """Three configurations proposed by Optuna, each on two folds, with early stopping."""
    settings = SweepConfig(folds=2, early_stopping="median", startup_trials=1)

    def repeats(proposal: Trial) -> list[Trial]:
        data, found = proposal.config.data, []
        for fold in range(2):
            config = replace(proposal.config, data=replace(data, folds=2, fold=fold))
            swept = {**proposal.swept, "data.fold": str(fold)}
            found.append(Trial(2 * proposal.number + fold, (), swept, config))
        return found

    return RepeatedSearch(search(tmp_path, 3), repeats, 2, settings)


def told(found: RepeatedSearch) -> list[Any]:
    return found.proposals.study.get_trials(deepcopy=False)


def test_optuna_learns_the_mean_of_a_configuration(repeated: RepeatedSearch) -> None:
    """Once all its folds are over, and the next configuration is another."""
    trials = [trial for _ in range(6) if (trial := repeated.next()) is not None]
    assert repeated.next() is None and repeated.total == 6
    rates = [trial.swept["lr"] for trial in trials]
    assert rates[0] == rates[1] != rates[2] == rates[3]
    repeated.tell(trials[0], finished(0.8))
    assert told(repeated)[0].state == TrialState.RUNNING
    repeated.tell(trials[1], finished(0.6))
    assert told(repeated)[0].value == pytest.approx(0.7)
    repeated.tell(trials[2], finished(0.9))
    repeated.tell(trials[3], TrialResult("failed"))
    assert told(repeated)[1].state == TrialState.FAIL
    repeated.tell(trials[4], finished(0.9))
    repeated.tell(trials[5], TrialResult("stopped", best=0.2))
    assert told(repeated)[2].state == TrialState.RUNNING  # the same command goes on with it


def test_a_pruned_fold_gives_its_configuration_up(repeated: RepeatedSearch) -> None:
    """Compared with the same fold of others; its other folds are not begun, or stop."""
    first = [trial for _ in range(2) if (trial := repeated.next()) is not None]
    for trial, value in zip(first, (0.5, 0.9), strict=True):
        assert not repeated.should_prune(trial, 2, value)
        repeated.tell(trial, finished(value))
    easy = repeated.next()
    assert easy is not None and not repeated.should_prune(easy, 2, 0.6)  # below 0.9, the other fold
    repeated.tell(easy, TrialResult("pruned", best=0.1))
    assert told(repeated)[1].state == TrialState.PRUNED
    following = repeated.next()
    assert following is not None and following.swept["lr"] != easy.swept["lr"]


def test_what_a_race_keeps_is_plain(race: Race, tmp_path: Path) -> None:
    """JSON that another program can read."""
    run(race(), at_once=1)
    kept = json.loads((tmp_path / "race.json").read_text())
    assert kept["dropped"][0]["beaten_by"] in ("lr=0", "lr=1")
