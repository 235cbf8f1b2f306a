"""What a sweep adds to its trials: python benchmarks/experiment_parallel.py

Eight trials on two slots of one CPU thread each. Wall time of `sweep.py`, Ray's start, imports and
the report included, against half of the sum of the trials' own time; the goal is 1.10 at trials of
a minute. The peer is a shell's way, two lanes of `train.py` one after the other, on the same
settings. Then the seconds of a trial of one step, in a process of its own and on a warm worker.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path
from statistics import mean

REPOSITORY = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(REPOSITORY))

RATES = ("1e-2", "5e-3", "3e-3", "2e-3", "1e-3", "5e-4", "3e-4", "1e-4")


def main() -> None:
    """Print wall times, ratios and the overhead of a trial."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--epochs", type=int, default=10, help="of a trial")
    parser.add_argument("--steps", type=int, default=16, help="of an epoch")
    parser.add_argument("--no-lanes", action="store_true", help="leave the peer out")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        long = (f"epochs={arguments.epochs}", f"steps_per_epoch={arguments.steps}")
        run(folder, "train.py", "output_dir=prepared", "epochs=1", "steps_per_epoch=1")
        wall, own = sweep(folder, "long", RATES, *long)
        print(f"8 trials on 2 slots, {mean(own):.0f} s each in the mean")
        print(f"{'wall time of the sweep, s':<52}{wall:>8.1f}")
        print(f"{'sum of own times / 2, s':<52}{sum(own) / 2:>8.1f}")
        print(f"{'ratio (goal: 1.10)':<52}{wall / (sum(own) / 2):>8.3f}")
        if not arguments.no_lanes:
            plain = lanes(folder, RATES, *long)
            print(f"{'two lanes of train.py, s':<52}{plain:>8.1f}")
            print(f"{'sweep / lanes':<52}{wall / plain:>8.3f}")
        cold, warm = overhead(folder)
        print(f"{'trial of one step, a process of its own, s':<52}{cold:>8.1f}")
        print(f"{'trial of one step, on a warm worker, s':<52}{warm:>8.1f}")


def settings(folder: Path) -> list[str]:
    """Of all trials: the same phantoms, one thread each."""
    return [
        f"data.root={folder}/phantom",
        f"data.store={folder}/stores",
        "threads=1",
        "data.workers=1",
        "tracking.system_metrics=false",
        "validation.cases=1",
        "validation.overlap=0",
    ]


def run(folder: Path, program: str, *overrides: str) -> float:
    """Wall seconds of a command."""
    begun = time.perf_counter()
    done = subprocess.run(
        [sys.executable, str(REPOSITORY / program), *settings(folder), *overrides],
        cwd=folder,
        env={**os.environ, "PYTHONPATH": str(REPOSITORY)},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    if done.returncode:
        sys.exit(done.stdout)
    return time.perf_counter() - begun


def sweep(
    folder: Path, name: str, rates: tuple[str, ...], *overrides: str
) -> tuple[float, list[float]]:
    """Wall seconds, and the seconds of each trial in the order in which they began."""
    from unet3d.sweep.sweep_folder import sweep_folder

    output = (f"output_dir={name}", f"sweep.name={name}", "parallel.trials_at_once=2")
    wall = run(folder, "sweep.py", *overrides, *output, f"lr={','.join(rates)}")
    trials = sorted(sweep_folder(folder / name, name).trials(), key=lambda r: r.number)
    assert [trial.result.state for trial in trials] == ["finished"] * len(rates)
    return wall, [trial.result.seconds for trial in trials]


def lanes(folder: Path, rates: tuple[str, ...], *overrides: str) -> float:
    """Wall seconds of two loops over train.py, each with half of the rates."""

    def lane(own: tuple[str, ...]) -> None:
        for rate in own:
            run(folder, "train.py", *overrides, "output_dir=lanes", f"lr={rate}")

    threads = [threading.Thread(target=lane, args=(rates[k::2],)) for k in range(2)]
    begun = time.perf_counter()
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return time.perf_counter() - begun


def overhead(folder: Path) -> tuple[float, float]:
    """Seconds of a trial of one step: cold, two side by side, and on a worker that had others."""
    one = ("epochs=1", "steps_per_epoch=1", "data.patch=[16,16,16]")
    cold = lanes(folder, RATES[:4], *one) / 2
    _, seconds = sweep(folder, "short", RATES, *one)
    return cold, mean(seconds[4:])


if __name__ == "__main__":
    main()
