"""Population based training: who continues from whom, with what, whatever ends or starts again."""

from __future__ import annotations

import json
import random
from pathlib import Path
from typing import Any

import pytest

from tests.small import small_config
from tests.sweep.folders import write_sweep, write_trial
from unet3d.config.schema import Config, SweepConfig
from unet3d.errors import ConfigError, RunError
from unet3d.sweep.report.lineage import ancestry, lineage_rows, lineage_sentence
from unet3d.sweep.report.report import write_report
from unet3d.sweep.report.results import read_results
from unet3d.sweep.search.population import (
    PopulationSearch,
    Step,
    exploit,
    explore,
    read_lineage,
)
from unet3d.sweep.search.rules import check_population
from unet3d.sweep.sweep_folder import SweepFolder
from unet3d.sweep.trial import Trial, TrialResult

RATES = ("0.0001", "0.001", "0.01", "0.1")
BEST = 1  # the member that is best throughout, and
WORST = 3  # worst


def population(config: Config, kept: Path, epochs: int = 6) -> PopulationSearch:
    """Four members; three generations of two epochs."""

    def make_trial(step: Step, end: int) -> Trial:
        swept = {**step.values, "member": str(step.member), "end": str(end), "run": step.run}
        return Trial(step.trial, (), swept, config, rung=step.generation)

    settings = SweepConfig(perturbation_interval=2)
    return PopulationSearch([{"lr": rate} for rate in RATES], make_trial, epochs, settings, kept)


def result(trial: Trial) -> TrialResult:
    """By the member alone."""
    value = {BEST: 0.9, WORST: 0.1}.get(int(trial.swept["member"]), 0.5)
    return TrialResult("finished", best=value, run_id=f"run-{trial.number}")


def run(search: PopulationSearch, at_once: int, seed: int = 0) -> list[Trial]:
    """The trials; those that run together end in any order."""
    order, begun, running = random.Random(seed), [], []
    while True:
        while len(running) < at_once and (trial := search.next()) is not None:
            running.append(trial)
            begun.append(trial)
        if not running:
            return begun
        trial = running.pop(order.randrange(len(running)))
        search.tell(trial, result(trial))


def test_the_worst_continues_from_the_best(tmp_path: Path) -> None:
    """Whatever the order in which trials end, and on how many slots; the others from themselves."""
    config = small_config(tmp_path)
    for at_once in (1, 2, 20):
        search = population(config, tmp_path / "lineage.json")
        assert search.total == 12
        begun = run(search, at_once, seed=at_once)
        assert [trial.number for trial in begun] == list(range(12))
        assert [trial.swept["end"] for trial in begun] == ["2"] * 4 + ["4"] * 4 + ["6"] * 4
        assert [trial.swept["run"] for trial in begun[:4]] == [""] * 4
        assert [t.swept["run"] for t in begun[4:8]] == ["run-0", "run-1", "run-2", "run-1"]
        assert [t.swept["run"] for t in begun[8:]] == ["run-4", "run-5", "run-6", "run-5"]
        rates = [trial.swept["lr"] for trial in begun[4:8]]
        assert rates[:3] == list(RATES[:3])
        assert rates[3] in ("0.0008", "0.0012")
        assert search.next() is None
    kept = read_lineage(tmp_path / "lineage.json")
    assert [(step.member, step.source) for step in kept[8:]] == [(0, 0), (1, 1), (2, 2), (3, 1)]
    assert [step.epoch for step in kept] == [0] * 4 + [2] * 4 + [4] * 4


def test_a_sweep_that_goes_on_decides_the_same(tmp_path: Path) -> None:
    """What an earlier command has finished is replayed; the rest continues from the same runs."""
    config = small_config(tmp_path)
    whole = run(population(config, tmp_path / "a"), 2)
    search, replayed = population(config, tmp_path / "b"), []
    for _ in range(6):  # a scheduler closes what is over as soon as it is asked for
        trial = search.next()
        assert trial is not None
        search.tell(trial, result(trial))
        replayed.append(trial)
    assert [t.swept for t in [*replayed, *run(search, 4)]] == [t.swept for t in whole]
    assert (tmp_path / "a").read_text() == (tmp_path / "b").read_text()


def test_a_member_that_fails_continues_from_another(tmp_path: Path) -> None:
    """It counts as worst; where all fail the search ends; a stopped one holds its generation."""
    config = small_config(tmp_path)
    search = population(config, tmp_path / "lineage.json")
    first = [search.next() for _ in RATES]
    for at, trial in enumerate(first):
        assert trial is not None
        search.tell(trial, TrialResult("failed") if at == BEST else result(trial))
    following = [search.next() for _ in RATES]
    runs = [trial.swept["run"] for trial in following if trial]
    assert len(runs) == 4 and runs[BEST] in ("run-0", "run-2") and "run-1" not in runs
    for trial in following:
        assert trial is not None
        search.tell(trial, TrialResult("failed"))
    assert search.next() is None
    stopped = population(config, tmp_path / "lineage.json")
    trials = [stopped.next() for _ in RATES]
    for trial in trials:
        assert trial is not None
        stopped.tell(trial, TrialResult("stopped") if trial.number == 0 else result(trial))
    assert stopped.next() is None


@pytest.mark.parametrize(
    ("values", "fraction", "changed"),
    [
        ({0: 0.9, 1: 0.8, 2: 0.7, 3: 0.6, 4: 0.5}, 0.2, {4: {0}}),
        ({0: 0.9, 1: 0.8, 2: 0.7, 3: 0.6, 4: 0.5}, 0.5, {3: {0, 1}, 4: {0, 1}}),
        ({0: 0.9, 1: 0.9}, 0.25, {1: {0}}),
        ({2: 0.4}, 0.25, {0: {2}, 1: {2}}),
        ({0: 0.5, 3: 0.6}, 0.5, {1: {0, 3}, 2: {0, 3}}),
    ],
)
def test_who_is_replaced(
    values: dict[int, float], fraction: float, changed: dict[int, set[int]]
) -> None:
    """So many of the worst, by one of as many of the best, and those without a value."""
    count = max(2, *(at + 1 for at in (*values, *changed)))
    for seed in range(20):
        sources = exploit(values, count, fraction, random.Random(seed))
        for at, source in enumerate(sources):
            assert source in changed.get(at, {at})


def test_numbers_change_by_a_fifth_and_stay_possible() -> None:
    """Rates by a factor, decay rates by what they lack to 1, whole numbers stay whole."""
    seen: dict[str, set[str]] = {"lr": set(), "optimizer.beta_2": set(), "loss.steps": set()}
    for seed in range(30):
        given = {"lr": "1e-3", "optimizer.beta_2": "0.999", "loss.steps": "10"}
        for key, value in explore(given, random.Random(seed)).items():
            seen[key].add(value)
    assert seen == {
        "lr": {"0.0008", "0.0012"},
        "optimizer.beta_2": {"0.9992", "0.9988"},
        "loss.steps": {"8", "12"},
    }


@pytest.mark.parametrize(
    ("settings", "epochs", "members", "message"),
    [
        ({"early_stopping": "asha"}, 6, ["lr=1", "lr=2"], "sweep.early_stopping: is not possible"),
        ({"folds": 3}, 6, ["lr=1", "lr=2"], "sweep.folds: is not possible"),
        ({"racing": True}, 6, ["lr=1", "lr=2"], "sweep.racing: is not possible"),
        ({}, 2, ["lr=1", "lr=2"], "2 is not below epochs=2"),
        ({}, 6, ["lr=1"], "needs two trials or more"),
        ({}, 6, ["model.filters=8", "model.filters=16"], "model.filters cannot change in the"),
        ({}, 6, ["optimizer.amsgrad=true", "optimizer.amsgrad=false"], "amsgrad=true is no number"),
    ],
)
def test_what_contradicts_is_one_line(
    settings: dict[str, Any], epochs: int, members: list[str], message: str
) -> None:
    """Before anything is trained."""
    sweep = SweepConfig(perturbation_interval=2, **settings)
    values = [dict([one.split("=")]) for one in members]
    with pytest.raises(ConfigError, match=message):
        check_population(sweep, epochs, 1, values)
    with pytest.raises(ConfigError, match="no multiple of val_every=3"):
        check_population(SweepConfig(perturbation_interval=2), 6, 3, [{"lr": "1"}, {"lr": "2"}])


def test_the_report_shows_the_lineage(tmp_path: Path) -> None:
    """Table, file, picture, and the schedule of the best trial in a sentence."""
    sweep = write_sweep(tmp_path, "population")
    steps = [
        Step(0, 0, 0, 0, 0, "", {"lr": "0.1"}),
        Step(0, 1, 1, 0, 1, "", {"lr": "0.001"}),
        Step(1, 0, 2, 2, 1, "run-1", {"lr": "0.0012"}),
        Step(1, 1, 3, 2, 1, "run-1", {"lr": "0.001"}),
    ]
    for step, value in zip(steps, (0.1, 0.5, 0.7, 0.6), strict=True):
        path = write_trial(sweep, step.trial, dict(step.values), [value / 2, value])
        described = json.loads((path / "trial.json").read_text())
        (path / "trial.json").write_text(json.dumps(described | {"rung": step.generation}))
    (sweep / "lineage.json").write_text(json.dumps([vars(step) for step in steps]))
    trials = read_results(SweepFolder(sweep))
    assert [one.number for one in trials] == [2, 3, 1, 0]
    assert lineage_sentence(steps, trials) == (
        "Population: trial 2 has been trained with lr=0.001 from epoch 1; lr=0.0012 from epoch 3."
    )
    assert [step.trial for step in ancestry(steps, 2)] == [1, 2]
    assert lineage_rows(steps, trials)[2] == ["2", "0", "1", "0.0012", "2", "0.7000"]
    assert lineage_rows(steps, trials)[3][2] == "itself"
    page = write_report(SweepFolder(sweep), str(tmp_path))
    assert "lr=0.0012 from epoch 3" in page.read_text()
    assert (page.parent / "population.png").stat().st_size > 5000
    table = (page.parent / "lineage.csv").read_text().splitlines()
    assert table[0] == "after epoch,member,continues from,lr,trial,best val/dice"
    assert len(table) == 5


def test_a_damaged_lineage_is_named(tmp_path: Path) -> None:
    """Not a traceback; a sweep without one has none."""
    assert read_lineage(tmp_path / "lineage.json") == []
    (tmp_path / "lineage.json").write_text('[{"generation": 0}]')
    with pytest.raises(RunError, match=r"lineage.json: is damaged"):
        read_lineage(tmp_path / "lineage.json")
