"""What a sweep's forecast takes from the sweeps that have ended in the same folder."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.sweep.folders import write_sweep
from unet3d.planning.fit_timing import MeasuredRun, fit
from unet3d.planning.timing import Placement, RunCost, Timing
from unet3d.sweep.forecast.forecast import sweep_overhead, with_new_workers
from unet3d.sweep.sweep_folder import SweepFacts, SweepFolder

WARM = Timing("runs", start=1.0, compile=2.0, warm_start=1.0, step=0.1, flops=1e9)


def ended(output_dir: Path, name: str, overhead: float, worker_start: float) -> None:
    SweepFolder(write_sweep(output_dir, name)).write_facts(
        SweepFacts(name, seconds=100.0, overhead=overhead, worker_start=worker_start)
    )


def test_the_start_of_a_worker_is_known_from_sweeps(tmp_path: Path) -> None:
    """Their runs begin in workers that are there and do not say it: growing would seem free."""
    assert with_new_workers(WARM, str(tmp_path)) is WARM
    assert sweep_overhead(str(tmp_path), WARM) == 16.0
    for name, overhead, start in (("a", 20.0, 8.0), ("b", 30.0, 9.0), ("c", 40.0, 30.0)):
        ended(tmp_path, name, overhead, start)
    ended(tmp_path, "of an earlier version", 0.0, 0.0)
    assert with_new_workers(WARM, str(tmp_path)).start_seconds() == pytest.approx(1 + 9 + 2)
    assert with_new_workers(WARM, str(tmp_path)).start_seconds(warm=True) == WARM.start_seconds()
    assert sweep_overhead(str(tmp_path), WARM) == 30.0


def test_a_run_that_was_regrouped_is_in_no_fit() -> None:
    """Its times are of several numbers of devices."""
    cost = RunCost(1, 11, 1, flops=1e9)
    steady = MeasuredRun("a", cost, Placement(), {"step": 10.0}, 1)
    grown = MeasuredRun("b", cost, Placement(2, 2), {"step": 90.0}, 1, regrouped=True)
    assert fit([steady, grown], "both").runs == ("a",)
