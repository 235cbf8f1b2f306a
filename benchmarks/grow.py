"""What a sweep gains whose last trial grows, and what was forecast: python benchmarks/grow.py

Trials of unequal length on two slots of one CPU thread each. When the short one has ended, the long
one may go on as a group of two workers. A sweep of other trials and a training over two workers
measure this machine; by these `dry_run=true` forecasts the sweep with sweep.grow=off, the peer,
and with sweep.grow=auto, which are then run. Prints how the trial has changed, forecast and
measured wall time of both, their ratios, and how far losses and val/dice of the long trial are
apart. About five minutes on 2 cores, which nothing else should use.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path

REPOSITORY = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(REPOSITORY))
SLOTS = "parallel.trials_at_once=2"
QUIET = ("sweep.forecast=false", SLOTS)  # nothing computes beside the trials


def main() -> None:
    """Print forecast, measured and error of both sweeps, and their ratio."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--epochs", type=int, default=24, help="of the long trial")
    parser.add_argument("--short", default="1", help="epochs of the others")
    parser.add_argument("--steps", type=int, default=12, help="of an epoch")
    parser.add_argument("--grow", default="auto", choices=("auto", "always"))
    parser.add_argument("overrides", nargs="*", help="of all trials, such as a larger patch")
    arguments = parser.parse_args()
    own = (f"steps_per_epoch={arguments.steps}", *arguments.overrides)
    grid = (f"epochs={arguments.epochs},{arguments.short}", *own)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        run(folder, "sweep.py", "-m", "lr=1e-3,2e-3", "epochs=2", *own, "sweep.name=fit", *QUIET)
        group = ("parallel=data", "nodes=2", "parallel.cpus_per_node=1")
        run(folder, "train.py", *group, "epochs=2", *own)
        kinds = ("off", arguments.grow)
        forecast = {grow: forecast_seconds(folder, grow, *grid) for grow in kinds}
        walls, curves = {}, {}
        for grow in kinds:
            walls[grow], curves[grow] = sweep(folder, grow, *grid)
        print(f"{'wall time':<24}{'forecast s':>12}{'measured s':>12}{'error':>8}")
        for grow in kinds:
            error = forecast[grow] / walls[grow] - 1
            row = f"{f'sweep.grow={grow}':<24}{forecast[grow]:>12.1f}{walls[grow]:>12.1f}"
            print(f"{row}{error:>8.1%}")
        ratios = [of[arguments.grow] / of["off"] for of in (forecast, walls)]
        print(f"{'ratio':<24}{ratios[0]:>12.3f}{ratios[1]:>12.3f}")
        for metric in ("train/loss", "val/dice"):
            pairs = zip(curves["off"], curves[arguments.grow], strict=True)
            apart = max(abs(one[metric] - other[metric]) for one, other in pairs)
            print(f"{f'{metric}, largest difference of an epoch':<40}{apart:>8.1e}")


def run(folder: Path, program: str, *overrides: str) -> None:
    """A command, in a process of its own. Ends this benchmark where it fails."""
    settings = (
        *("threads=1", "data.workers=1", "tracking=none", "model.norm=group"),
        *("validation.cases=2", "validation.overlap=0", "optimizer.epsilon=1e-4"),
    )
    done = subprocess.run(
        [sys.executable, str(REPOSITORY / program), *overrides, *settings],
        cwd=folder,
        env={**os.environ, "PYTHONPATH": str(REPOSITORY)},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    if done.returncode:
        sys.exit(done.stdout)
    for line in done.stdout.splitlines():
        if any(text in line for text in ("regrouped", "stays as it is", "forecast", "|")):
            print(line, flush=True)


def forecast_seconds(folder: Path, grow: str, *overrides: str) -> float:
    """What the sweep will take, by the runs so far."""
    own = (f"sweep.name={grow}", f"sweep.grow={grow}", SLOTS)
    run(folder, "sweep.py", "-m", *overrides, *own, "dry_run=true")
    path = folder / "outputs" / "sweeps" / grow / "forecast.json"
    return float(json.loads(path.read_text())["seconds"])


def sweep(folder: Path, grow: str, *overrides: str) -> tuple[float, list[dict[str, float]]]:
    """Wall seconds, and the metrics of each epoch of the long trial."""
    from unet3d.sweep.sweep_folder import sweep_folder

    own = (f"sweep.name={grow}", f"sweep.grow={grow}", *QUIET)
    run(folder, "sweep.py", "-m", *overrides, *own)
    ended = sweep_folder(folder / "outputs", grow)
    trials = ended.trials()
    assert {trial.result.state for trial in trials} == {"finished"}
    longest = max(trials, key=lambda trial: len(trial.epochs))
    own_time = f"sweep.grow={grow}: own time of the long trial, s"
    print(f"{own_time:<52}{longest.result.seconds:>8.1f}")
    metrics = [record["metrics"] for record in longest.epochs if "train/loss" in record["metrics"]]
    return ended.facts().seconds, metrics


if __name__ == "__main__":
    main()
