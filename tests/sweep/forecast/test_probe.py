"""A few steps of each kind of trial: measured once each, in place of the forecast."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.small import small_config
from unet3d.errors import RunError
from unet3d.planning.timing import RunCost
from unet3d.sweep.forecast.probe import Probe, check_probes, probed, shape_of
from unet3d.sweep.forecast.trial_costs import GB, Capacity, TrialCost, cost_lines, trial_costs
from unet3d.sweep.resources import TrialResources
from unet3d.sweep.trial import Trial
from unet3d.training.run_cost import trials_like
from unet3d.training.setup import make_data

ALONE = TrialResources(cpus=1, gpus=0.0, workers_per_trial=1, at_once=1)


def trial(number: int, folder: Path, *overrides: str) -> Trial:
    """One of a sweep on phantoms."""
    config = small_config(folder, *overrides)
    return Trial(number, overrides, dict(o.split("=") for o in overrides), config)


def test_trials_of_one_shape_are_probed_once(tmp_path: Path) -> None:
    """Rate, seed and fold change nothing that a step takes; width, batch and precision do."""
    base = shape_of(small_config(tmp_path))
    for same in (("lr=0.1",), ("seed=3", "epochs=9"), ("data.folds=2", "data.fold=1")):
        assert shape_of(small_config(tmp_path, *same)) == base
    for other in ("model.filters=2", "batch_size=1", "precision=mixed_bfloat16", "data.patch=null"):
        assert shape_of(small_config(tmp_path, other)) != base


def test_measured_figures_replace_the_forecast(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """One process for two rates; the table says which figures are measured."""
    trials = [trial(0, tmp_path, "lr=0.1"), trial(1, tmp_path, "lr=0.2", "epochs=50")]
    make_data(trials[0].config)
    costs = trial_costs(trials, ALONE, None)
    runs = [one.cost for one in trials_like([t.config for t in trials], 2)]
    with caplog.at_level("INFO"):
        found = probed(costs, runs, ALONE, local=True)
    assert caplog.text.count("probe of trial") == 1 and "and 1 like it" in caplog.text
    assert all(one.probed and one.memory and 1e6 < one.memory < 4 * GB for one in found)
    short, long = (one.seconds or 0.0 for one in found)
    assert 0 < short < long
    lines = cost_lines(found, Capacity(0.0, ""), None)
    assert lines[1].count("probed") == 2 and not (tmp_path / "runs").exists()
    assert probed(costs, runs, ALONE, local=False) == costs


def test_the_time_of_a_training_is_that_of_its_parts() -> None:
    """Start, steps, and a validation every other epoch."""
    cost = RunCost(
        epochs=5,
        steps=10,
        batch=2,
        flops=1,
        bytes=1,
        patch_bytes=1,
        gradient_bytes=1,
        validation_cases=3,
        validation_flops=1,
        val_every=2,
    )
    assert Probe(start=7, step=0.5, case=2).seconds(cost) == 7 + 5 * 10 * 0.5 + 3 * 3 * 2


def test_what_does_not_fit_is_named(tmp_path: Path) -> None:
    """All trials of the kind that ran out of memory, with what to type."""
    costs = [TrialCost(trial(n, tmp_path, f"model.filters={n}"), None, None, 1) for n in (4, 8)]
    lack = Probe(problem="its process ended with code -9", fits=False)
    with pytest.raises(RunError, match=r"a step of trial 8 \(filters=8\) does not fit in memory"):
        check_probes(costs, [Probe(memory=1), lack])
    check_probes(costs, [Probe(), Probe()])


def test_a_trial_that_would_fail_says_how(tmp_path: Path) -> None:
    """A probe's process sends the error of its training: here of a precision that no CPU has."""
    one = trial(0, tmp_path, "precision=mixed_float16")
    make_data(one.config)
    costs = trial_costs([one], ALONE, None)
    runs = [cost.cost for cost in trials_like([one.config], 1)]
    with pytest.raises(RunError, match="trial 0 .* fails: ConfigError: precision: mixed_float16"):
        probed(costs, runs, ALONE, local=True)
