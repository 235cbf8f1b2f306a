"""A sweep's limits: which trials begin, when running ones are saved, what is refused."""

from __future__ import annotations

from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from tests.small import small_config
from tests.sweep.folders import write_sweep, write_trial
from unet3d.config.schema import Config, SweepConfig
from unet3d.errors import ConfigError
from unet3d.sweep.budget import HOUR, Budget, device_seconds, make_budget
from unet3d.sweep.running_trial import RunningTrial
from unet3d.sweep.scheduler import _next_waiting
from unet3d.sweep.search.search import GridSearch, relative_length
from unet3d.sweep.sweep_folder import SweepFolder
from unet3d.sweep.trial import Trial, TrialResult


@pytest.fixture
def config(tmp_path: Path) -> Config:
    return small_config(tmp_path, "epochs=10")


def trial(config: Config, number: int = 0) -> Trial:
    found = Trial(number, (), {}, config)
    found.__dict__["key"] = f"key{number}"  # of equal settings, which would be one trial
    return found


def limited(config: Config, hours: float | None, each: float | None = 1.0, **more: Any) -> Budget:
    """Where a trial takes `each` device hours."""
    pace = None if each is None else each * HOUR / relative_length(config)
    return Budget(None if hours is None else hours * HOUR, pace=pace, **{"deadline": None, **more})


def test_no_trial_begins_that_would_pass_the_budget(config: Config) -> None:
    """Beside those that run, which need theirs, and those that have ended."""
    budget = limited(config, 2.5)
    waiting, running = RunningTrial(trial(config, 0)), [RunningTrial(trial(config, 1))]
    assert budget.may_begin(waiting, []) and budget.may_begin(waiting, running)
    assert not budget.may_begin(waiting, [*running, RunningTrial(trial(config, 2))])
    assert "2 of 2.5 device hours are used or needed" in budget.reason
    budget.end(trial(config, 3), TrialResult("finished", epochs=10, device_seconds=1.6 * HOUR))
    assert not budget.may_begin(waiting, [])  # by what trials of this sweep take


def test_what_a_trial_has_taken_before_is_not_taken_again(config: Config) -> None:
    """One that was saved goes on where another would not begin."""
    budget = limited(config, 1.0, spent={"key0": 0.9 * HOUR})
    assert budget.may_begin(RunningTrial(trial(config, 0), device_seconds=0.9 * HOUR), [])
    assert not budget.may_begin(RunningTrial(trial(config, 1)), [])


def test_where_nothing_is_known_epochs_say_it(config: Config) -> None:
    """The first trials begin; their epochs then keep others from it."""
    budget = limited(config, 1.5, each=None)
    running, waiting = RunningTrial(trial(config, 0)), RunningTrial(trial(config, 1))
    assert budget.may_begin(waiting, [running])
    running.last_epoch, running.device_seconds = 2, 0.2 * HOUR
    assert not budget.may_begin(waiting, [running])


def test_running_trials_are_saved_at_the_limit(config: Config) -> None:
    """Of hours, and of time."""
    budget, running = limited(config, 1.0), RunningTrial(trial(config))
    assert not budget.passed([running])
    running.device_seconds = 1.1 * HOUR
    assert budget.passed([running]) and "all of its 1 device hours are used" in budget.reason
    timed = limited(config, None, deadline=1000.0, now=lambda: 1001.0)
    assert timed.passed([running]) and "sweep.deadline: it is reached" in timed.reason


def test_no_trial_begins_that_would_pass_the_deadline(config: Config) -> None:
    """Two devices take half of the time."""
    for devices, begins in ((1.0, False), (2.0, True)):
        budget = limited(config, None, deadline=0.7 * HOUR, now=lambda: 0.0, devices=devices)
        assert budget.may_begin(RunningTrial(trial(config)), []) is begins


@pytest.mark.parametrize("may_skip", [True, False])
def test_a_shorter_trial_of_a_grid_begins_in_place_of_a_long_one(
    tmp_path: Path, config: Config, may_skip: bool
) -> None:
    """But not in a search, whose order is its own."""
    short = small_config(tmp_path, "epochs=2")
    search = GridSearch([trial(config, 0), trial(short, 1)], SweepConfig())
    search.may_skip = may_skip
    sweep: Any = type("Sweep", (), {})()
    sweep.search, sweep.budget, sweep.waiting = search, limited(config, 0.5), []
    sweep.running, sweep.folder = {}, SweepFolder(tmp_path / "sweep")
    found = _next_waiting(sweep)
    assert (found is not None) is may_skip
    if found is not None:
        assert found.trial.number == 1 and len(sweep.waiting) == 2


def made(folder: Path, config: Config, hours: float | None, **settings: Any) -> Budget | None:
    return make_budget(
        SweepConfig(**settings),
        SweepFolder(folder),
        [config],
        1.0,
        lambda: None if hours is None else hours * HOUR,
    )


def test_limits_within_which_no_trial_ends_are_one_line(tmp_path: Path, config: Config) -> None:
    """Before any begins: a time that is past, too little for one trial, all used up."""
    sweep = write_sweep(tmp_path, "s")
    soon = (datetime.now() + timedelta(minutes=5)).isoformat(timespec="seconds")
    cases: list[tuple[float | None, dict[str, Any], str]] = [
        (None, {"deadline": "2020-01-01T08:00"}, "sweep.deadline: 2020-01-01T08:00 is past"),
        (1.0, {"deadline": soon}, "is too early for one trial, which takes about 60 min"),
        (1.0, {"budget": 0.5}, "sweep.budget: 0.5 device hours are below one trial.* about 1 "),
    ]
    for hours, settings, problem in cases:
        with pytest.raises(ConfigError, match=problem) as error:
            made(sweep, config, hours, **settings)
        assert "\n" not in str(error.value)
    write_trial(sweep, 0, {"lr": "1"}, [0.5], device_seconds=2 * HOUR)
    with pytest.raises(
        ConfigError, match="2 device hours are used up, as earlier commands .* took"
    ):
        made(sweep, config, None, budget=2.0)
    assert made(sweep, config, None) is None
    larger = made(sweep, config, 1.0, budget=4.0)
    assert larger is not None and sum(larger.spent.values()) == 2 * HOUR


def test_device_seconds_of_trials_that_kept_none(tmp_path: Path) -> None:
    """Of earlier versions, and of one that was killed."""
    sweep = write_sweep(tmp_path, "s")
    write_trial(sweep, 0, {"lr": "1"}, [0.5], seconds=100.0)
    assert device_seconds(SweepFolder(sweep).trials()[0], devices=2.0) == 200.0
    folder = write_trial(sweep, 1, {"lr": "2"}, [], "open")
    (folder / "epochs").write_text(
        "".join(f'{{"epoch": {n}, "time": {n * 1000}, "metrics": {{}}}}\n' for n in (1, 2, 3))
    )
    killed = next(one for one in SweepFolder(sweep).trials() if one.number == 1)
    assert device_seconds(killed) == pytest.approx(3.0)
