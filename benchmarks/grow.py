"""What a sweep gains whose last trial grows: python benchmarks/grow.py

Trials of unequal length on two slots of one CPU thread each. When the short ones have
ended, the long one may go on as a group of two workers. The wall time of `sweep.py` with
sweep.grow=off is the peer of the one with sweep.grow=auto, in the same run and on the same
settings; the latter runs first and also prepares the data for both. Prints how the trial has
changed, both times, their ratio, and how far losses and val/dice of the long trial are apart.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

REPOSITORY = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(REPOSITORY))


def main() -> None:
    """Print both wall times and their ratio."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--epochs", type=int, default=60, help="of the long trial")
    parser.add_argument("--short", default="1,2", help="epochs of the others")
    parser.add_argument("--steps", type=int, default=16, help="of an epoch")
    parser.add_argument("--grow", default="auto", choices=("auto", "always"))
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        epochs = f"epochs={arguments.epochs},{arguments.short}"
        lengths = (epochs, f"steps_per_epoch={arguments.steps}")
        walls, curves = {}, {}
        for grow in (arguments.grow, "off"):
            walls[grow], curves[grow] = sweep(folder, grow, *lengths)
        off, grown = walls["off"], walls[arguments.grow]
        print(f"{'sweep.grow=off, wall time, s':<52}{off:>8.1f}")
        print(f"{f'sweep.grow={arguments.grow}, wall time, s':<52}{grown:>8.1f}")
        print(f"{'ratio':<52}{grown / off:>8.3f}")
        for metric in ("train/loss", "val/dice"):
            pairs = zip(curves["off"], curves[arguments.grow], strict=True)
            apart = max(abs(one[metric] - other[metric]) for one, other in pairs)
            print(f"{f'{metric}, largest difference of an epoch':<52}{apart:>8.1e}")


def run(folder: Path, program: str, *overrides: str) -> float:
    """Wall seconds of a command."""
    settings = (
        *(f"data.root={folder}/phantom", f"data.store={folder}/stores"),
        *("threads=1", "data.workers=1", "tracking.system_metrics=false", "model.norm=group"),
        *("validation.cases=2", "validation.overlap=0", "optimizer.epsilon=1e-4"),
    )
    begun = time.perf_counter()
    done = subprocess.run(
        [sys.executable, str(REPOSITORY / program), *settings, *overrides],
        cwd=folder,
        env={**os.environ, "PYTHONPATH": str(REPOSITORY)},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    if done.returncode:
        sys.exit(done.stdout)
    for line in done.stdout.splitlines():
        if "regrouped" in line or "stays as it is" in line:
            print(line)
    return time.perf_counter() - begun


def sweep(folder: Path, grow: str, *overrides: str) -> tuple[float, list[dict[str, float]]]:
    """Wall seconds, and the metrics of each epoch of the long trial."""
    from unet3d.sweep.sweep_folder import sweep_folder

    output = (f"output_dir={grow}", f"sweep.name={grow}", "parallel.trials_at_once=2")
    wall = run(folder, "sweep.py", *overrides, *output, f"sweep.grow={grow}")
    trials = sweep_folder(folder / grow, grow).trials()
    assert {trial.result.state for trial in trials} == {"finished"}
    longest = max(trials, key=lambda trial: len(trial.epochs))
    print(
        f"{f'sweep.grow={grow}: own time of the long trial, s':<52}{longest.result.seconds:>8.1f}"
    )
    return wall, [record["metrics"] for record in longest.epochs]


if __name__ == "__main__":
    main()
