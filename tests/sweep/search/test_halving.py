"""Successive halving over a setting: who goes on, what is resumed, what is compared."""

from __future__ import annotations

import random
from pathlib import Path

import pytest

from tests.small import small_config
from tests.sweep.folders import write_sweep, write_trial
from unet3d.config.schema import Config, SweepConfig
from unet3d.errors import ConfigError
from unet3d.sweep.configurations import find_ensemble
from unet3d.sweep.report.report import read_findings
from unet3d.sweep.report.results import read_results
from unet3d.sweep.search.halving import HalvingSearch, rung_sizes
from unet3d.sweep.search.rules import check_fidelity_key, check_search
from unet3d.sweep.sweep_folder import SweepFolder
from unet3d.sweep.trial import Trial, TrialResult

RUNGS = {"fidelity": "data.train_share", "rungs": [0.25, 1]}


def halving(config: Config, count: int) -> HalvingSearch:
    """Three rungs, one in three goes on."""

    def make_trial(at: int, rung: int) -> Trial:
        return Trial(rung * count + at, (), {"at": str(at)}, config, rung=rung)

    return HalvingSearch(count, make_trial, 3, 3)


def value(trial: Trial) -> float:
    """More is better with more training; of the configurations the last is best."""
    return int(trial.swept["at"]) / 100 + trial.rung / 10


def run(search: HalvingSearch, at_once: int, seed: int = 0) -> list[tuple[int, int]]:
    """(rung, configuration) of each trial; those that run together end in any order."""
    order, begun, running = random.Random(seed), [], []
    while True:
        while len(running) < at_once and (trial := search.next()) is not None:
            running.append(trial)
            begun.append((trial.rung, int(trial.swept["at"])))
        if not running:
            return begun
        trial = running.pop(order.randrange(len(running)))
        search.tell(trial, TrialResult("finished", best=value(trial)))


def test_the_best_of_a_rung_go_on(tmp_path: Path) -> None:
    """Whatever the order in which trials end; `total` holds from the beginning."""
    config = small_config(tmp_path)
    for at_once in (1, 2, 20):
        search = halving(config, 10)
        assert search.total == 10 + 3 + 1 and rung_sizes(10, 3, 3) == [10, 3, 1]
        begun = run(search, at_once, seed=at_once)
        assert begun == [*((0, at) for at in range(10)), (1, 9), (1, 8), (1, 7), (2, 9)]
        assert search.total == 14 and search.next() is None


def test_failed_trials_do_not_go_on_and_stopped_ones_keep_the_rung_open(tmp_path: Path) -> None:
    """A rung of failures ends the sweep; after Ctrl-C nothing is chosen without the missing one."""
    search = halving(small_config(tmp_path), 3)
    trials = [search.next() for _ in range(3)]
    assert search.next() is None  # waits
    for trial in trials:
        assert trial
        search.tell(trial, TrialResult("failed"))
    assert search.next() is None and search.total == 3 + 1
    search = halving(small_config(tmp_path), 3)
    for state in ("finished", "finished", "stopped"):
        trial = search.next()
        assert trial
        search.tell(trial, TrialResult(state, best=0.5))
    assert search.next() is None


@pytest.mark.parametrize(
    ("settings", "adaptive", "count", "message"),
    [
        ({"rungs": [0.1, 1]}, False, 9, "sweep.rungs: is of sweep.fidelity"),
        ({"fidelity": "data.train_share"}, False, 9, "needs two values or more"),
        (RUNGS, True, None, "sweep.fidelity: is of grids"),
        ({**RUNGS, "seeds": 2}, False, 9, "compares single trials"),
        ({**RUNGS, "early_stopping": "asha"}, False, 9, "leave out sweep.early_stopping=asha"),
        (RUNGS, False, 2, "of 2 trials no one in 3 can be chosen"),
    ],
)
def test_contradicting_settings_are_one_line(
    settings: dict[str, object], adaptive: bool, count: int | None, message: str
) -> None:
    """Before anything begins."""
    with pytest.raises(ConfigError, match=message):
        check_search(SweepConfig(**settings), 10, adaptive, count)  # type: ignore[arg-type]


def test_the_fidelity_is_a_setting_that_results_depend_on(tmp_path: Path) -> None:
    """Else the trials of all rungs would be one and the same."""
    config = small_config(tmp_path)
    check_fidelity_key("data.train_share", config, {"lr"})
    with pytest.raises(ConfigError, match=r"data.workers changes no result"):
        check_fidelity_key("data.workers", config, {"lr"})
    with pytest.raises(ConfigError, match=r"data.nothing is not a setting"):
        check_fidelity_key("data.nothing", config, {"lr"})
    with pytest.raises(ConfigError, match=r"sets lr itself"):
        check_fidelity_key("lr", config, {"lr"})


def test_only_the_highest_rung_is_compared(tmp_path: Path) -> None:
    """A cheap trial that was lucky is not the best of the sweep, nor in the verdict."""
    sweep = write_sweep(tmp_path, "s")
    write_trial(sweep, 0, {"lr": "1", "data.train_share": "0.25"}, [0.99])
    write_trial(sweep, 1, {"lr": "2", "data.train_share": "0.25"}, [0.98])
    top = write_trial(sweep, 2, {"lr": "2", "data.train_share": "1"}, [0.9])
    described = (top / "trial.json").read_text()
    (top / "trial.json").write_text(described.replace('"number"', '"rung": 1, "number"'))
    folder = SweepFolder(sweep)
    assert [one.number for one in read_results(folder)] == [2, 0, 1]
    found = read_findings(folder, str(tmp_path)).verdict
    assert found is not None and [row.name for row in found.rows] == ["lr=2, train_share=1"]
    assert find_ensemble(str(tmp_path), "s").runs == (f"{2:032x}",)
