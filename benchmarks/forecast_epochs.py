"""Forecasts of data-parallel epochs at unseen bandwidths: python benchmarks/forecast_epochs.py

As benchmarks/forecast_network.py, but of whole trainings by `train.py parallel=data nodes=...` over
a Ray cluster on simulated nodes (tests/rig: needs root and iproute2), with validation, checkpoints
and record. The model of time is fitted to trainings alone and at two bandwidths, from what they
record, and forecasts an epoch at three others. The goal is 15 %. About twelve minutes on 2 cores,
which nothing else should use.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import tempfile
from pathlib import Path

REPOSITORY = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(REPOSITORY))

from benchmarks.forecast_network import FITTED, UNSEEN, at_bandwidth  # noqa: E402
from tests.rig.ray_nodes import ADDRESS, TOKEN, ray_nodes  # noqa: E402
from tests.rig.rig import Rig, environment, rig  # noqa: E402
from unet3d.planning.fit_timing import MeasuredRun, fit  # noqa: E402
from unet3d.training.measured_run import measured_runs  # noqa: E402

BATCH = 4
TRAIN = [sys.executable, str(REPOSITORY / "train.py"), "tracking=none", "threads=1"]


def main() -> None:
    """Print a row for each number of workers and bandwidth: forecast, measured, error."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--workers", default="2,4")
    parser.add_argument("--epochs", type=int, default=3)
    parser.add_argument("--steps", type=int, default=30, help="of an epoch")
    parser.add_argument("overrides", nargs="*", help="of train.py")
    arguments = parser.parse_args()
    overrides = [f"epochs={arguments.epochs}", f"steps_per_epoch={arguments.steps}"]
    overrides += arguments.overrides
    print(f"seconds of an epoch; fitted at {FITTED[0]} and {FITTED[1]} Mbit/s; simulated nodes")
    print(f"{'workers':>8}{'Mbit/s':>10}{'forecast':>10}{'measured':>10}{'error':>8}", flush=True)
    for count in map(int, arguments.workers.split(",")):
        with tempfile.TemporaryDirectory() as folder, rig(count, slurm=False) as cluster:
            compare(count, cluster, Path(folder), overrides)


def compare(count: int, cluster: Rig, folder: Path, overrides: list[str]) -> None:
    """Train alone and over `count` workers at each bandwidth; print a row for each unseen one."""
    command = [sys.executable, "-m", "unet3d.cli", "preprocess"]
    subprocess.run(command, check=True, cwd=folder, env=environment(), stdout=subprocess.DEVNULL)
    alone = train_alone(count, cluster, folder, overrides)
    with ray_nodes(cluster, folder):
        fits = {}
        for limit in FITTED:
            run = train_together(count, cluster, folder, limit, overrides)
            fits[limit] = fit([alone, run], "rig")
        for limit in UNSEEN:
            run = train_together(count, cluster, folder, limit, overrides)
            timing = at_bandwidth(fits, run.cost, run.placement, limit)
            forecast, measured = timing.epoch_seconds(run.cost, run.placement), epoch_seconds(run)
            row = f"{count:>8}{limit or 'none':>10}{forecast:>10.2f}{measured:>10.2f}"
            print(f"{row}{forecast / measured - 1:>8.1%}", flush=True)


def epoch_seconds(run: MeasuredRun) -> float:
    """Of an epoch, mean, as `Timing.epoch_seconds` counts: without the step's compilation."""
    parts = ("step", "input_wait", "allreduce", "validate", "checkpoint", "record")
    return run.part(*parts) / run.epochs


def train_alone(count: int, cluster: Rig, folder: Path, overrides: list[str]) -> MeasuredRun:
    """A worker's share of the batch on each node at once, as all of them share the cores."""
    settings = [f"batch_size={BATCH // count}", *overrides]
    processes = [
        subprocess.Popen(
            cluster.on(f"n{index + 1}", *TRAIN, *settings, f"seed={index}"),
            cwd=folder,
            env=environment(),
            stdin=subprocess.DEVNULL,
            stdout=(folder / f"alone{index}.log").open("w"),
            stderr=subprocess.STDOUT,
        )
        for index in range(count)
    ]
    for index, process in enumerate(processes):
        if process.wait():
            sys.exit((folder / f"alone{index}.log").read_text()[-2000:])
    return newest(folder)


def train_together(
    count: int, cluster: Rig, folder: Path, limit: int, overrides: list[str]
) -> MeasuredRun:
    """One training over all nodes at a bandwidth in Mbit/s; 0: no limit."""
    cluster.limit(limit)
    settings = [f"batch_size={BATCH}", "parallel=data", f"nodes={count}", *overrides]
    settings += [f"parallel.address={ADDRESS}", "parallel.wait_for_nodes=120"]
    cluster.run("n1", "env", *TOKEN, *TRAIN, *settings, cwd=folder, timeout=900)
    return newest(folder)


def newest(folder: Path) -> MeasuredRun:
    """What the run that began last has recorded."""
    outputs = folder / "outputs"
    os.chdir(folder)  # the paths of its settings
    last = max((outputs / "runs").iterdir(), key=lambda run: run.stat().st_ctime)
    (measured,) = measured_runs(outputs, [last.name])
    return measured


if __name__ == "__main__":
    main()
