"""What trials will take, shown before any begins; those that cannot fit are refused by name."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.small import small_config
from tests.sweep.folders import write_sweep, write_trial
from unet3d.errors import DataError, RunError
from unet3d.planning.timing import Timing
from unet3d.sweep.forecast.trial_costs import (
    GB,
    Capacity,
    TrialCost,
    capacity_of,
    check_fit,
    check_trials,
    cost_lines,
    surely_small,
    too_large,
    trial_costs,
)
from unet3d.sweep.report.memory import memory_sentence
from unet3d.sweep.resources import TrialResources
from unet3d.sweep.sweep_folder import SweepFolder
from unet3d.sweep.trial import Trial
from unet3d.training.setup import make_data

ALONE = TrialResources(cpus=1, gpus=0.0, workers_per_trial=1, at_once=2)


@pytest.fixture(scope="module")
def trials(tmp_path_factory: pytest.TempPathFactory) -> list[Trial]:
    """A narrow network and a wide one, on a store that is built."""
    folder = tmp_path_factory.mktemp("costs")
    configs = [small_config(folder, f"model.filters={n}", "epochs=10") for n in (2, 8)]
    make_data(configs[0])
    return [
        Trial(number, (), {"model.filters": str(config.model.filters)}, config)
        for number, config in enumerate(configs)
    ]


def test_each_trial_has_memory_time_and_price(trials: list[Trial]) -> None:
    """The wide one takes more of all; the sum is below."""
    timing = Timing("made up", start=1, compile=1, warm_start=1, step=0.01, flops=1e9)
    small, large = costs = trial_costs(trials, ALONE, timing)
    assert small.memory and large.memory and 2 < large.memory / small.memory < 8
    assert small.seconds and large.seconds and small.seconds < large.seconds
    lines = cost_lines(costs, Capacity(0.0, ""), price=2.0)
    assert lines[0].split() == ["trial", "settings", "memory", "time", "device-hours", "price"]
    assert "filters=8" in lines[2] and lines[-1].startswith("all trials: ")
    assert lines[-1].endswith(" at 2 an hour")


def test_those_that_cannot_fit_are_named(trials: list[Trial]) -> None:
    """In the table and in one line with what to type; the others are not."""
    costs = trial_costs(trials, ALONE, None)
    assert costs[0].memory and costs[1].memory
    capacity = Capacity((costs[0].memory + costs[1].memory) / 2, "a GPU of 1 GB")
    assert [too_large(cost, capacity) for cost in costs] == [False, True]
    lines = cost_lines(costs, capacity, None)
    assert "does not fit" in lines[2] and "does not fit" not in lines[1] and len(lines) == 3
    with pytest.raises(RunError, match=r"memory: a step of trial 1 \(filters=8: .* GB\) cannot"):
        check_fit(costs, capacity)
    check_fit(costs, Capacity(0.0, ""))


def test_a_sweep_refuses_them_before_any_begins(trials: list[Trial]) -> None:
    """By data.patch_memory here; a small network is not even counted."""
    config = trials[0].config
    check_trials(trials, ALONE, config, local=True)
    capacity = capacity_of(config, ALONE, local=True)
    assert surely_small(config, ALONE, capacity) and "for 2 trials" in capacity.origin
    assert not surely_small(config, ALONE, Capacity(1e6, "little"))
    config.data.patch_memory = 1e-4
    try:
        with pytest.raises(RunError, match="cannot fit in 0.0001 GB, data.patch_memory"):
            check_trials(trials, ALONE, config, local=True)
    finally:
        config.data.patch_memory = None


def test_an_automatic_patch_is_chosen_to_fit(trials: list[Trial], tmp_path: Path) -> None:
    """So it is never refused; and without a store nothing is known."""
    config = trials[0].config
    automatic = TrialCost(
        Trial(0, (), {}, small_config(tmp_path, "data.patch=auto")), None, None, 1
    )
    assert automatic.cells(Capacity(1.0, ""), None)[2] == "chosen to fit"
    assert not too_large(automatic, Capacity(1.0, ""))
    assert capacity_of(config, ALONE, local=False).bytes == 0
    with pytest.raises(DataError, match="no such folder"):
        trial_costs([Trial(0, (), {}, small_config(tmp_path))], ALONE, None)


def test_predicted_beside_measured(tmp_path: Path) -> None:
    """On the report, with the largest underestimate; sweeps of earlier versions have none."""
    sweep = write_sweep(tmp_path, "s")
    for number, (predicted, peak) in enumerate(((2.0, 1.0), (1.0, 1.5))):
        folder = write_trial(sweep, number, {"lr": str(number)}, [0.5])
        metrics = f'{{"perf/predicted_memory_gb": {predicted}, "perf/peak_memory_gb": {peak}}}'
        (folder / "epochs").write_text(f'{{"epoch": 1, "time": 0, "metrics": {metrics}}}\n')
    said = memory_sentence(SweepFolder(sweep).trials())
    assert "predicted as 1 to 2 GB; the measured peaks are 1 to 1.5 GB" in said
    assert "at the most 1.5 times the prediction (trial 1)." in said
    assert memory_sentence([]) == "" and GB == 1e9
