"""Forecasts of sweeps against what they take: python benchmarks/forecast.py

Two sweeps measure this machine. Then sweeps that the fit has not seen are forecast by
`dry_run=true` and run: another number of trials, trials of unequal length, another network. The
goal is a makespan within 10 %. About five minutes on 2 cores, which nothing else should use.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
from pathlib import Path

SWEEP = Path(__file__).resolve().parents[1] / "sweep.py"
MEASURED = {
    "fit-a": ("lr=1e-3,2e-3", "epochs=3"),
    "fit-b": ("lr=1e-3,2e-3", "epochs=2", "model.filters=16"),
}
UNSEEN = {
    "six trials": ("lr=1e-3,2e-3,3e-3,4e-3,5e-3,6e-3", "epochs=3"),
    "unequal lengths": ("epochs=2,3,6",),
    "another network": ("lr=1e-3,2e-3,3e-3", "epochs=3", "model.filters=12"),
}


def main() -> None:
    """Print a row for each sweep: forecast, measured, error."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--at-once", type=int, default=2, help="trials of a sweep at once")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        for name, overrides in MEASURED.items():
            run(folder, name, overrides, arguments.at_once)
        print(f"{'sweep':<18}{'forecast s':>12}{'measured s':>12}{'error':>8}")
        for name, overrides in UNSEEN.items():
            key = name.replace(" ", "-")
            run(folder, key, (*overrides, "dry_run=true"), arguments.at_once)
            run(folder, key, overrides, arguments.at_once)
            path = Path(folder, "outputs", "sweeps", key)
            forecast = json.loads((path / "forecast.json").read_text())["seconds"]
            seconds = json.loads((path / "sweep.json").read_text())["seconds"]
            error = forecast / seconds - 1
            print(f"{name:<18}{forecast:>12.1f}{seconds:>12.1f}{error:>8.1%}", flush=True)


def run(folder: str, name: str, overrides: tuple[str, ...], at_once: int) -> None:
    """A sweep in a process of its own. Ends this benchmark where it fails."""
    own = (f"sweep.name={name}", "tracking=none", f"parallel.trials_at_once={at_once}")
    command = [sys.executable, str(SWEEP), "-m", *overrides, *own]
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True)
    if done.returncode:
        sys.exit(f"{' '.join(command)} failed:\n{(done.stdout + done.stderr)[-2000:]}")


if __name__ == "__main__":
    main()
