"""The model of time: by hand, fitted to runs that follow it, and written and read again."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from unet3d.errors import ConfigError, RunError
from unet3d.planning.fit_timing import MeasuredRun, fit
from unet3d.planning.timing import Placement, RunCost, Timing, read_timing

COST = RunCost(
    epochs=10,
    steps=100,
    batch=4,
    flops=2e9,
    patch_bytes=1e6,
    gradient_bytes=1e6,
    validation_cases=5,
    validation_flops=1e9,
    val_every=2,
)
MACHINE = Timing(
    name="machine",
    start=20.0,
    compile=5.0,
    warm_start=2.0,
    step=0.01,
    flops=1e11,
    validation_case=0.1,
    validation_flops=1e10,
    latency=1e-4,
    bandwidth=1e8,
    far_latency=1e-3,
    far_bandwidth=1e7,
    epoch_end=0.5,
    end=3.0,
)


def test_a_run_by_hand() -> None:
    """Steps of 0.01 s and 4 patches of 0.02 s; five cases of 0.2 s every other epoch."""
    assert MACHINE.step_seconds(COST, Placement()) == pytest.approx(0.09)
    assert MACHINE.epoch_seconds(COST, Placement()) == pytest.approx(9 + 0.5 + 0.5)
    assert MACHINE.run_seconds(COST, Placement()) == pytest.approx(25 + 10 * 10 + 3)
    assert MACHINE.run_seconds(COST, Placement(), epochs=4, warm=True) == pytest.approx(7 + 40 + 3)


def test_an_exchange_is_that_of_a_ring() -> None:
    """2 (n - 1) messages, and 2 (n - 1) / n of the bytes; of nodes over their own network."""
    assert MACHINE.reduce_seconds(COST, Placement()) == 0
    assert MACHINE.reduce_seconds(COST, Placement(4)) == pytest.approx(6e-4 + 1.5e6 / 1e8)
    assert MACHINE.reduce_seconds(COST, Placement(2, 2)) == pytest.approx(2e-3 + 1e6 / 1e7)


def test_what_overlaps_with_computing_takes_no_time() -> None:
    """Up to the share of computing during which gradients travel."""
    apart, place = MACHINE.step_seconds(COST, Placement(2, 2)), Placement(2, 2)
    hidden = replace(MACHINE, overlap=1.0).step_seconds(COST, place)
    computing = MACHINE.compute_seconds(COST, place)
    assert apart == pytest.approx(computing + 0.102)
    assert hidden == pytest.approx(0.102)  # of which computing, 0.05 s, is a part


def test_devices_of_a_node_share_its_input() -> None:
    """Four that read at once wait four times as long, of one run or of four."""
    slow = replace(MACHINE, input=1e7)
    assert slow.step_seconds(COST, Placement()) == pytest.approx(0.4)
    assert slow.step_seconds(COST, Placement(1, 1, sharing=4)) == pytest.approx(1.6)
    assert slow.step_seconds(COST, Placement(4)) == pytest.approx(0.4)
    assert slow.step_seconds(COST, Placement(4, 4)) == pytest.approx(0.1 + 1.0, abs=1.0)


def _measured(cost: RunCost, place: Placement, warm: bool = False) -> MeasuredRun:
    """What a run on MACHINE records, without noise."""
    steps = cost.epochs * cost.steps - 1
    reduce = MACHINE.reduce_seconds(cost, place)
    parts = {
        "start": MACHINE.warm_start if warm else MACHINE.start,
        "trace": MACHINE.compile,
        "step": steps * (MACHINE.step_seconds(cost, place) - reduce),
        "allreduce": steps * reduce,
        "validate": cost.epochs // cost.val_every * MACHINE.validation_seconds(cost, place),
        "checkpoint": cost.epochs * 0.4,
        "record": cost.epochs * 0.1,
        "end": MACHINE.end,
    }
    return MeasuredRun("run", cost, place, parts, cost.epochs, warm)


def test_the_fit_finds_the_constants_that_runs_follow() -> None:
    """From runs of two networks, on one device, on several and on two nodes."""
    small = replace(COST, flops=5e8, gradient_bytes=2e5, validation_flops=3e8)
    places = [Placement(), Placement(2), Placement(4), Placement(2, 2), Placement(4, 2)]
    runs = [_measured(cost, place) for cost in (COST, small) for place in places]
    found = fit([*runs, _measured(COST, Placement(), warm=True)], "machine")
    for name in ("start", "warm_start", "compile", "step", "flops", "epoch_end", "end"):
        assert getattr(found, name) == pytest.approx(getattr(MACHINE, name), rel=1e-3), name
    for name in ("latency", "bandwidth", "far_latency", "far_bandwidth", "validation_flops"):
        assert getattr(found, name) == pytest.approx(getattr(MACHINE, name), rel=1e-3), name
    assert found.error < 0.01 and found.overlap == 0
    assert found.extrapolated(COST, Placement(4)) == []
    assert found.extrapolated(COST, Placement(8)) == ["devices 8, measured at 1 to 4"]


def test_noise_is_the_spread() -> None:
    """Runs of one kind that differ by 10 % give a deviation of about that."""
    random = np.random.default_rng(0)
    runs = []
    for factor in random.normal(1, 0.1, 30):
        run = _measured(COST, Placement())
        runs.append(replace(run, parts={k: v * factor for k, v in run.parts.items()}))
    found = fit(runs, "machine")
    assert 0.07 < found.spread < 0.13 and found.error < 0.15


def test_nothing_measured_is_an_error() -> None:
    """A run that has not finished an epoch says nothing."""
    with pytest.raises(RunError, match="none of these runs has finished an epoch"):
        fit([replace(_measured(COST, Placement()), epochs=0)], "machine")


def test_it_is_written_and_read_again(tmp_path: Path) -> None:
    """With the runs that it rests on, and what they cover."""
    found = fit([_measured(COST, Placement())], "machine")
    found.write(tmp_path / "timing.json")
    assert read_timing(str(tmp_path / "timing.json")) == found


@pytest.mark.parametrize("content", [None, "{", '{"name": "x"}', "[]"])
def test_a_wrong_file_is_one_clear_error(tmp_path: Path, content: str | None) -> None:
    """With its name, and the machines that there are."""
    path = tmp_path / "timing.json"
    if content is not None:
        path.write_text(content)
    with pytest.raises(ConfigError, match="timing: .*timing.json"):
        read_timing(str(path))


@pytest.mark.parametrize("name", ["paper", "v100"])
def test_machines_that_come_along(name: str) -> None:
    """They say that they are assumed."""
    assert "assumed" in read_timing(name).describe()
