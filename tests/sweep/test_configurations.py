"""Configurations that are trained on several folds and with several seeds."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.sweep.folders import write_sweep, write_trial
from unet3d.config.schema import SweepConfig
from unet3d.errors import ConfigError, RunError
from unet3d.sweep.configurations import configurations, find_ensemble, repeated
from unet3d.sweep.report.report import write_report
from unet3d.sweep.sweep_folder import SweepFolder, TrialRecord
from unet3d.sweep.trial import TrialResult


@pytest.fixture
def folds(tmp_path: Path) -> Path:
    """A sweep of two rates on three folds; the second rate has lost a trial."""
    sweep = write_sweep(tmp_path, "folds")
    found = {"1e-3": (0.7, 0.8, 0.9), "1e-2": (0.92, 0.62, None)}
    for rate, values in found.items():
        for fold, value in enumerate(values):
            number, swept = len(list(sweep.glob("trials/*"))), {"lr": rate, "data.fold": str(fold)}
            state = "failed" if value is None else "finished"
            write_trial(sweep, number, swept, [] if value is None else [value], state)
    return sweep


def test_each_configuration_is_trained_on_each_fold_with_each_seed() -> None:
    """Two rates, two folds and two seeds are eight trials; without either all stays as it is."""
    rates = [["lr=1e-3"], ["lr=1e-2"]]
    trials = repeated(rates, SweepConfig(folds=2, seeds=2))
    assert len(trials) == 8
    assert trials[1] == ["lr=1e-3", "data.folds=2", "data.fold=1", "seed=0"]
    assert repeated(rates, SweepConfig()) == rates


@pytest.mark.parametrize(
    ("typed", "sweep", "told"),
    [
        ("data.fold=1", SweepConfig(folds=3), "sweep.folds: sets data.folds and data.fold itself"),
        ("seed=4", SweepConfig(seeds=2), "sweep.seeds: sets seed itself; leave out seed=4"),
    ],
)
def test_a_fold_that_is_typed_as_well_is_refused(typed: str, sweep: SweepConfig, told: str) -> None:
    """It would count for some trials only."""
    with pytest.raises(ConfigError, match=told):
        repeated([["lr=1", typed]], sweep)


def test_means_and_deviations_of_those_that_have_finished(folds: Path) -> None:
    """The highest mean comes first, not the highest trial; a lost trial is told."""
    best, other = configurations(SweepFolder(folds).trials())
    assert str(best) == "lr=1e-3: val/dice 0.8000, deviation 0.1000, of 3 trials"
    assert str(other) == "lr=1e-2: val/dice 0.7700, deviation 0.2121, of 2 of 3 trials"


def test_the_best_configuration_is_an_ensemble(folds: Path) -> None:
    """Its finished runs predict together; a sweep without any is one line."""
    best = find_ensemble(str(folds.parents[1]), "folds")
    assert sorted(best.runs) == [f"{number:032x}" for number in range(3)]
    assert best.folds and best.typed == "sweep=folds"
    assert best.folder == folds / "configurations" / "lr=1e-3"
    write_sweep(folds.parents[1], "empty")
    with pytest.raises(RunError, match="none of the trials of empty has finished"):
        find_ensemble(str(folds.parents[1]), "empty")


def test_another_configuration_is_chosen_by_name(
    folds: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """What it lacks is warned of; a name that is not there is one line with those that are."""
    other = find_ensemble(str(folds.parents[1]), "folds", "lr=1e-2")
    assert len(other.runs) == 2 and other.typed == "sweep=folds configuration=lr=1e-2"
    assert "2 of 3 trials of lr=1e-2 have finished" in caplog.text
    with pytest.raises(RunError, match="lr=1 is not in folds, which has: lr=1e-3; lr=1e-2"):
        find_ensemble(str(folds.parents[1]), "folds", "lr=1")


def test_a_configuration_is_called_as_it_was_typed_or_as_it_is_shown() -> None:
    """The table shows norm=group where model.norm=group was typed; both name it."""
    swept = {"lr": "1e-3", "model.norm": "group", "data.fold": "0"}
    trial = TrialRecord(0, "lr=1e-3, norm=group", swept, "", TrialResult("finished"), [])
    (one,) = configurations([trial])
    assert one.name == "lr=1e-3, norm=group"
    assert one.is_called("lr=1e-3,norm=group") and one.is_called("lr=1e-3,model.norm=group")
    assert not one.is_called("lr=1e-3") and not one.is_called("norm=group,lr=1e-3,x=1")


def test_the_report_tells_the_configurations(folds: Path) -> None:
    """Where some have several trials."""
    page = write_report(SweepFolder(folds), str(folds.parents[1])).read_text()
    assert "<h2>Configurations</h2>" in page and '<td class="number">2 of 3</td>' in page
