"""Where trials come from: the study resumes where it stopped, and judges as Optuna does."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from hydra.core.override_parser.overrides_parser import OverridesParser
from optuna import distributions
from optuna.trial import TrialState

from hydra_plugins.unet3d_sweep.sweeper import distribution
from tests.small import small_config
from unet3d.config.schema import SweepConfig
from unet3d.errors import ConfigError, RunError
from unet3d.sweep.search.search import GridSearch, OptunaSearch, longest_first
from unet3d.sweep.search.study import make_study
from unet3d.sweep.trial import Trial, TrialResult

SPACE = {"lr": distributions.FloatDistribution(1e-4, 1e-1, log=True)}


def trials(tmp_path: Path, count: int) -> list[Trial]:
    config = small_config(tmp_path)
    return [Trial(number, (), {}, config) for number in range(count)]


def search(tmp_path: Path, count: int, settings: SweepConfig | None = None) -> OptunaSearch:
    def make_trial(number: int, params: dict[str, Any]) -> Trial:
        return Trial(number, (), {"lr": str(params["lr"])}, small_config(tmp_path))

    study = make_study(settings or SweepConfig(), "s", f"sqlite:///{tmp_path / 'study.db'}")
    return OptunaSearch(study, SPACE, make_trial, count)


def finished(value: float) -> TrialResult:
    return TrialResult("finished", best=value)


def test_a_study_resumes_where_it_was_left(tmp_path: Path) -> None:
    """What was running or failed is asked for again with the same values; what is over counts."""
    first = search(tmp_path, 4)
    asked = [first.next() for _ in range(3)]
    assert all(asked)
    over, lost, failed = (trial for trial in asked if trial)
    first.tell(over, finished(0.5))
    first.tell(failed, TrialResult("failed"))
    second = search(tmp_path, 4)
    again = [second.next() for _ in range(3)]
    assert second.next() is None  # 1 over, 2 again, 1 new
    values = [trial.swept for trial in again if trial]
    assert values[:2] == [lost.swept, failed.swept]
    assert values[2] not in (over.swept, lost.swept, failed.swept)
    for trial in again:
        assert trial
        second.tell(trial, finished(0.1))
    third = search(tmp_path, 4)
    assert third.next() is None
    states = [trial.state for trial in third.study.trials]
    assert states.count(TrialState.COMPLETE) == 4 and TrialState.RUNNING not in states


def test_successive_halving_stops_the_poorest(tmp_path: Path) -> None:
    """At each rung one trial in `reduction_factor` goes on, as Li et al. 2020."""
    settings = SweepConfig(early_stopping="asha", reduction_factor=2, min_epochs=1)
    grid = GridSearch(trials(tmp_path, 3), settings)
    good, poor, better = (grid.next() for _ in range(3))
    assert good and poor and better
    assert not grid.should_prune(good, 1, 0.5)
    assert grid.should_prune(poor, 1, 0.1)
    grid.tell(poor, TrialResult("pruned", best=0.1))
    assert not grid.should_prune(better, 1, 0.6)
    assert not grid.should_prune(better, 2, 0.6)
    assert grid.next() is None


def test_median_rule_waits_for_its_first_trials(tmp_path: Path) -> None:
    """Nothing is stopped before startup_trials have ended, nor before min_epochs."""
    settings = SweepConfig(early_stopping="median", startup_trials=2, min_epochs=2)
    grid = GridSearch(trials(tmp_path, 3), settings)
    for value in (0.5, 0.6):
        trial = grid.next()
        assert trial
        for epoch in (1, 2, 3):
            assert not grid.should_prune(trial, epoch, value)
        grid.tell(trial, finished(value))
    poor = grid.next()
    assert poor
    assert not grid.should_prune(poor, 1, 0.1)
    assert grid.should_prune(poor, 2, 0.1)


def test_without_early_stopping_none_is_judged(tmp_path: Path) -> None:
    """The default runs every trial to its end."""
    grid = GridSearch(trials(tmp_path, 1), SweepConfig())
    trial = grid.next()
    assert trial and not grid.should_prune(trial, 1, 0.0)
    grid.tell(trial, finished(0.0))


@pytest.mark.parametrize(
    ("typed", "expected"),
    [
        ("x=interval(0.1,1)", distributions.FloatDistribution(0.1, 1.0)),
        ("x=tag(log,interval(1e-5,1e-2))", distributions.FloatDistribution(1e-5, 1e-2, log=True)),
        ("x=int(interval(2,8))", distributions.IntDistribution(2, 8)),
        ("x=tag(log,int(interval(2,8)))", distributions.IntDistribution(2, 8, log=True)),
        ("x=range(2,9,2)", distributions.IntDistribution(2, 8, step=2)),
        ("x=choice(a,b)", distributions.CategoricalDistribution(["a", "b"])),
        ("x=true,false", distributions.CategoricalDistribution(["true", "false"])),
        ("x=1,2", distributions.CategoricalDistribution([1, 2])),
    ],
)
def test_hydra_syntax_is_optunas_distribution(typed: str, expected: Any) -> None:
    """interval(), range(), choice(), lists and tag(log, ...)."""
    (override,) = OverridesParser.create().parse_overrides([typed])
    found = distribution(override)
    if typed == "x=true,false":
        assert [str(choice).lower() for choice in found.choices] == ["true", "false"]
    else:
        assert found == expected


def test_impossible_intervals_and_storages_are_errors(tmp_path: Path) -> None:
    """An interval that is empty, a storage that cannot be opened."""
    (override,) = OverridesParser.create().parse_overrides(["x=interval(2.0,1.0)"])
    with pytest.raises(ConfigError, match=r"x: x=interval\(2.0,1.0\) is not possible"):
        distribution(override)
    with pytest.raises(RunError, match="sweep.storage: nosuch:///x cannot be used"):
        make_study(SweepConfig(), "s", "nosuch:///x")


def test_the_longest_trials_of_a_grid_start_first(tmp_path: Path) -> None:
    """By epochs, voxels and width; equal ones in the grid's order, all with their numbers."""
    lengths = [("lr=1e-2",), ("epochs=3",), ("lr=1e-3",), ("model.filters=16",), ("epochs=9",)]
    lengths += [("data.patch=[32,32,32]", "epochs=2"), ("data.patch=auto",)]
    grid = [Trial(n, (), {}, small_config(tmp_path, *own)) for n, own in enumerate(lengths)]
    assert [trial.number for trial in longest_first(grid)] == [3, 5, 4, 1, 0, 2, 6]
    assert longest_first(grid[:1] + grid[2:3]) == [grid[0], grid[2]]
