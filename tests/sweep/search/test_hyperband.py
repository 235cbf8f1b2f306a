"""Hyperband's brackets over epochs, for grids and adaptive searches."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Any

import pytest
from optuna import distributions

from tests.small import small_config
from unet3d.config.schema import SweepConfig
from unet3d.errors import ConfigError
from unet3d.sweep.search.rules import check_search
from unet3d.sweep.search.search import GridSearch, OptunaSearch, Search
from unet3d.sweep.search.study import brackets, log_brackets, make_study
from unet3d.sweep.trial import Trial, TrialResult

HYPERBAND = SweepConfig(early_stopping="hyperband", sampler="random", trials=30)
EPOCHS = 9


def stops(search: Search) -> dict[int, int]:
    """The epoch at which each trial was stopped, 9 of those that were not."""
    found = {}
    while (trial := search.next()) is not None:
        value = 1 / (1 + trial.number)  # each is worse than all before it
        for epoch in range(1, EPOCHS + 1):
            if search.should_prune(trial, epoch, value) and epoch < EPOCHS:
                search.tell(trial, TrialResult("pruned", best=value))
                break
        else:
            search.tell(trial, TrialResult("finished", best=value))
        found[trial.number] = epoch
    return found


def grid(tmp_path: Path) -> GridSearch:
    config = small_config(tmp_path, f"epochs={EPOCHS}")
    return GridSearch([Trial(n, (), {}, config) for n in range(30)], HYPERBAND)


def adaptive(tmp_path: Path, trials: int = 30) -> OptunaSearch:
    config = small_config(tmp_path, f"epochs={EPOCHS}")

    def make_trial(number: int, params: dict[str, Any]) -> Trial:
        return Trial(number, (), {}, config)

    study = make_study(HYPERBAND, "s", f"sqlite:///{tmp_path / 'study.db'}", EPOCHS)
    space = {"lr": distributions.FloatDistribution(0.0, 1.0)}
    return OptunaSearch(study, space, make_trial, trials)


def test_each_bracket_stops_from_its_own_epoch_on(tmp_path: Path) -> None:
    """Trials that only get worse stop at the first epoch of their bracket: 1, 3, or never."""
    found = stops(grid(tmp_path))
    assert brackets(HYPERBAND, EPOCHS) == [1, 3, 9]
    assert set(found.values()) == {1, 3, 9}


def test_a_resumed_sweep_has_the_same_brackets(tmp_path: Path) -> None:
    """A grid is judged anew by what is recorded, and comes to the same; a study goes on in its
    database as if it had not been interrupted."""
    assert stops(grid(tmp_path)) == stops(grid(tmp_path))
    whole, halves = tmp_path / "whole", tmp_path / "halves"
    whole.mkdir()
    halves.mkdir()
    once = stops(adaptive(whole))
    assert stops(adaptive(halves, 15)) | stops(adaptive(halves, 30)) == once


def test_what_hyperband_cannot_do_is_one_line() -> None:
    """One bracket, or configurations of several trials."""
    check_search(HYPERBAND, EPOCHS)
    with pytest.raises(ConfigError, match="one bracket alone for epochs=2"):
        check_search(HYPERBAND, 2)
    with pytest.raises(ConfigError, match="leave out sweep.folds and sweep.seeds"):
        check_search(SweepConfig(early_stopping="hyperband", folds=3), EPOCHS)


def test_tpe_with_too_few_trials_for_its_brackets_is_warned_of(
    caplog: pytest.LogCaptureFixture,
) -> None:
    """Optuna's TPE learns within a bracket, so that three of them need 30 trials."""
    with caplog.at_level(logging.WARNING):
        log_brackets(SweepConfig(early_stopping="hyperband"), EPOCHS, trials=30)
        assert not caplog.records
        log_brackets(SweepConfig(early_stopping="hyperband"), EPOCHS, trials=20)
    assert "sweep.trials=30 or more" in caplog.text
