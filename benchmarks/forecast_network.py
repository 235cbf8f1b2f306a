"""Forecasts of data-parallel steps at unseen bandwidths: python benchmarks/forecast_network.py

Two, then four workers on nodes of network namespaces (tests/rig, simulated: needs root and
iproute2) train the default job at two bandwidths, to which the model of time is fitted; then at
three others, which it forecasts. Four workers share two cores, so that each device is half a core,
alone too. The goal is 15 %. About eight minutes on 2 cores, which nothing else should use.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from benchmarks.network import workers_on_nodes
from unet3d.planning.fit_timing import MeasuredRun, fit
from unet3d.planning.timing import Placement, RunCost, Timing

FITTED = (200, 1000)  # Mbit/s
UNSEEN = (100, 400, 0)  # 0: no limit
STEPS = 100  # of an epoch, which all figures are for


def main() -> None:
    """Print a row for each number of workers and bandwidth: forecast, measured, error."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--workers", default="2,4")
    parser.add_argument("--rounds", type=int, default=2, help="of 10 steps of each kind")
    parser.add_argument("overrides", nargs="*", help="of train.py")
    arguments = parser.parse_args()
    print(
        f"seconds of {STEPS} steps; fitted at {FITTED[0]} and {FITTED[1]} Mbit/s; simulated nodes"
    )
    print(f"{'workers':>8}{'Mbit/s':>10}{'forecast':>10}{'measured':>10}{'error':>8}")
    for count in map(int, arguments.workers.split(",")):
        overrides = ["batch_size=4", *arguments.overrides]
        with workers_on_nodes(count, arguments.rounds, overrides) as measure:
            seen = {limit: measure(limit) for limit in FITTED}
            for limit in UNSEEN:
                forecast = STEPS * forecast_step(count, seen, limit)
                measured = STEPS * measure(limit)["packs"] / 1000
                error = forecast / measured - 1
                row = f"{count:>8}{limit or 'none':>10}{forecast:>10.2f}{measured:>10.2f}"
                print(f"{row}{error:>8.1%}", flush=True)


def forecast_step(count: int, seen: Mapping[int, Mapping[str, float]], limit: int) -> float:
    """Seconds of a step at `limit`, by the model of time fitted to what was `seen` at others."""
    fits = {at: fit_at(count, found) for at, found in seen.items()}
    cost, placement = cost_of(seen[min(seen)]), Placement(count, count)
    return at_bandwidth(fits, cost, placement, limit).step_seconds(cost, placement)


def at_bandwidth(
    fits: Mapping[int, Timing], cost: RunCost, placement: Placement, limit: int
) -> Timing:
    """The model of time at `limit` Mbit/s (0: none), from those fitted at two others."""
    (slow, fast) = sorted(fits)
    # A link's bandwidth is known, what an exchange takes beside it is not: two points show both.
    exchange = {at: timing.reduce_seconds(cost, placement) for at, timing in fits.items()}
    n = placement.devices
    passed = 2 * (n - 1) / n * cost.gradient_bytes
    a_mbit = (exchange[slow] - exchange[fast]) / (1 / slow - 1 / fast)  # seconds at 1 Mbit/s
    fixed = max(0.0, exchange[fast] - a_mbit / fast)
    return replace(
        fits[slow],
        far_latency=fixed / (2 * (n - 1)),
        far_bandwidth=passed / (a_mbit / limit) if limit else 0.0,
    )


def fit_at(count: int, found: Mapping[str, float]) -> Timing:
    """The constants, from a training alone and one over all workers at one bandwidth."""
    cost = cost_of(found)
    together = {
        "step": STEPS * max(0.0, found["packs"] - found["all-reduce"]) / 1000,
        "allreduce": STEPS * min(found["packs"], found["all-reduce"]) / 1000,
    }
    alone = {"step": STEPS * found["alone"] / 1000}
    runs = [
        MeasuredRun("alone", replace(cost, batch=cost.batch // count), Placement(), alone, 1),
        MeasuredRun("together", cost, Placement(count, count), together, 1),
    ]
    return fit(runs, "rig")


def cost_of(found: Mapping[str, float]) -> RunCost:
    """Of the job: one operation a patch, as all patches here are of one size."""
    return RunCost(1, STEPS + 1, 4, flops=1e9, gradient_bytes=found["bytes"])


if __name__ == "__main__":
    main()
