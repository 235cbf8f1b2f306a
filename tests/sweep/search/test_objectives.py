"""A search with two objectives: much val/dice, and little of what a trial takes."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from optuna import distributions

from tests.small import small_config
from tests.sweep.folders import write_sweep, write_trial
from unet3d.config.schema import SweepConfig
from unet3d.errors import ConfigError, RunError
from unet3d.sweep.report.front import front, front_sentence, plot_front
from unet3d.sweep.report.parameters import LeftOut
from unet3d.sweep.report.report import write_report
from unet3d.sweep.search.rules import check_search
from unet3d.sweep.search.search import OptunaSearch
from unet3d.sweep.search.study import make_study
from unet3d.sweep.sweep_folder import SweepFolder
from unet3d.sweep.trial import Trial, TrialResult

NSGA2 = SweepConfig(minimize="parameters", sampler="nsga2", trials=60, population=10)
SIDE = 0.5  # of the plane, in which no network is both small and good


def search(tmp_path: Path, settings: SweepConfig, trials: int) -> OptunaSearch:
    config = small_config(tmp_path)

    def make_trial(number: int, params: dict[str, Any]) -> Trial:
        return Trial(number, (), {k: repr(v) for k, v in params.items()}, config)

    study = make_study(settings, "s", f"sqlite:///{tmp_path / 'study.db'}")
    space = {key: distributions.FloatDistribution(0.0, 1.0) for key in ("width", "lr")}
    return OptunaSearch(study, space, make_trial, trials, settings.minimize)


def run(found: OptunaSearch) -> list[tuple[float, int]]:
    """(val/dice, parameters) of each trial: wide networks are better, a good lr is free."""
    over = []
    while (trial := found.next()) is not None:
        width, lr = (float(trial.swept[key]) for key in ("width", "lr"))
        best, parameters = width - abs(lr - SIDE), round(1000 * width)
        assert not found.should_prune(trial, 1, best)
        found.tell(trial, TrialResult("finished", best=best, parameters=parameters))
        over.append((best, parameters))
    return over


def test_nsga2_comes_near_the_front(tmp_path: Path) -> None:
    """Its last generation loses less by its lr than its first, which was drawn at random."""
    over = run(search(tmp_path, NSGA2, 60))

    def loss(part: list[tuple[float, int]]) -> float:
        return sum(parameters / 1000 - best for best, parameters in part) / len(part)

    assert len(over) == 60
    assert loss(over[-10:]) < 0.7 * loss(over[:10])


@pytest.mark.parametrize("sampler", ["tpe", "random", "qmc"])
def test_other_samplers_take_two_objectives(tmp_path: Path, sampler: str) -> None:
    """And go on where an earlier command has stopped."""
    settings = replace(NSGA2, sampler=sampler, population=None)
    assert len(run(search(tmp_path, settings, 3))) == 3
    again = search(tmp_path, settings, 14)
    assert len(run(again)) == 11
    values = [trial.values for trial in again.study.trials]
    assert len(values) == 14 and all(len(one) == 2 for one in values)
    assert again.study.directions[1].name == "MINIMIZE"


def test_a_study_keeps_its_objectives(tmp_path: Path) -> None:
    """The same name cannot go on with one more: its trials would lack a value."""
    run(search(tmp_path, SweepConfig(sampler="random"), 2))
    with pytest.raises(RunError, match="which has 1 objective; choose another sweep.name"):
        search(tmp_path, NSGA2, 4)


@pytest.mark.parametrize(
    ("settings", "adaptive", "message"),
    [
        (SweepConfig(minimize="hours"), False, "sweep.minimize: is of adaptive searches"),
        (SweepConfig(minimize="hours", early_stopping="asha"), True, "leave out sweep.early_stop"),
        (SweepConfig(minimize="hours", sampler="cmaes"), True, "cmaes has one objective"),
        (SweepConfig(population=4), True, "sweep.population: is of"),
    ],
)
def test_contradicting_settings_are_one_line(
    settings: SweepConfig, adaptive: bool, message: str
) -> None:
    """Before anything begins."""
    with pytest.raises(ConfigError, match=message):
        check_search(settings, 10, adaptive)


def test_the_report_has_the_front(tmp_path: Path) -> None:
    """Sentence and picture name the trials that none beats in both, and no others."""
    sweep = write_sweep(tmp_path, "s")
    for number, (best, parameters) in enumerate(((0.5, 100), (0.6, 90), (0.9, 5000), (0.8, 6000))):
        write_trial(sweep, number, {"n": str(number)}, [best], parameters=parameters)
    folder = SweepFolder(sweep)
    folder.write_facts(replace(folder.facts(), minimize="parameters"))
    trials = folder.trials()
    assert [one.number for one in front(trials, "parameters")] == [1, 2]
    said = front_sentence(trials, "parameters")
    assert "trial 1 (n=1): 0.6000 with 90 parameters; trial 2 (n=2): 0.9000 with 5,000" in said
    page = write_report(folder, str(tmp_path)).read_text()
    assert said in page and "Pareto front of the two objectives" in page
    assert (folder.report / "front.png").is_file()
    with pytest.raises(LeftOut):
        plot_front(trials, tmp_path / "none.png")
