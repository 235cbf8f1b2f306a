"""What two workers lose against two runs of their own: python benchmarks/data_parallel.py

Both on one CPU thread a process and the same patches: one run of `train.py parallel=data nodes=2`
with a global batch of 2, and two independent runs with a batch of 1, side by side. Efficiency is
the ratio of their patches a second; the goal is 0.92. Start-up is timed against parallel=none.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from statistics import median

import numpy as np

REPOSITORY = Path(__file__).resolve().parents[1]


def main() -> None:
    """Print efficiency, shares and start-up."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--patch", type=int, default=96)
    parser.add_argument("--steps", type=int, default=8, help="of each of 3 epochs")
    parser.add_argument("--repeats", type=int, default=2)
    parser.add_argument("overrides", nargs="*", help="of train.py, for all runs")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        prepare(folder, arguments)
        rates: dict[str, list[float]] = {"alone": [], "together": []}
        shares: list[dict[str, float]] = []
        for repeat in range(arguments.repeats):
            pair = [start(folder, arguments, f"alone{repeat}{k}", f"seed={k}") for k in range(2)]
            found = [speed(folder, finish(process)) for process in pair]
            rates["alone"].append(sum(epoch["perf/patches_per_s"] for epoch in found))
            both = start(
                folder, arguments, f"both{repeat}", "batch_size=2", "parallel=data", "nodes=2"
            )
            epoch = speed(folder, finish(both))
            rates["together"].append(epoch["perf/patches_per_s"])
            shares.append(epoch)
        report(arguments, rates, shares)
        print_start_up(folder, arguments)


def prepare(folder: Path, arguments: argparse.Namespace) -> None:
    """Preprocess, so that no run does it within its time."""
    subprocess.run(
        [sys.executable, "-m", "unet3d.cli", "preprocess", *data(folder, arguments)],
        check=True,
        cwd=REPOSITORY,
        stdout=subprocess.DEVNULL,
    )


def data(folder: Path, arguments: argparse.Namespace) -> list[str]:
    """Phantoms that are larger than the patch."""
    side = 16 * -(-arguments.patch * 5 // 64)
    return [
        f"data.root={folder}/phantom",
        f"data.store={folder}/stores",
        f"data.patch={[arguments.patch] * 3}".replace(" ", ""),
        f"data.phantom.shape={[side] * 3}".replace(" ", ""),
        "data.phantom.cases=4",
    ]


def start(
    folder: Path, arguments: argparse.Namespace, name: str, *overrides: str
) -> tuple[subprocess.Popen[str], Path]:
    """A run on one thread a process, in an output folder of its own."""
    settings = [
        *data(folder, arguments),
        f"output_dir={folder}/{name}",
        "tracking=none",
        "threads=1",
        "data.workers=1",
        "batch_size=1",
        f"steps_per_epoch={arguments.steps}",
        "epochs=3",
        "val_every=3",
        "validation.cases=1",
        "validation.overlap=0",
        *arguments.overrides,
        *overrides,
    ]
    process = subprocess.Popen(
        [sys.executable, str(REPOSITORY / "train.py"), *settings],
        cwd=folder,
        env={**os.environ, "PYTHONPATH": str(REPOSITORY)},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    return process, folder / name


def finish(started: tuple[subprocess.Popen[str], Path]) -> Path:
    """Wait; the run's output folder."""
    process, output = started
    told, _ = process.communicate()
    if process.returncode:
        sys.exit(told)
    return output


def speed(folder: Path, output: Path) -> dict[str, float]:
    """perf/... of a run, median over its epochs but the first, which compiles."""
    (checkpoint,) = output.glob("runs/*/checkpoints/last.npz")
    with np.load(checkpoint) as file:
        history = json.loads(file["progress"].tobytes().decode())["history"]
    epochs = [record["metrics"] for record in history[1:]]
    names = [name for name in epochs[0] if name.startswith("perf/")]
    return {name: median(epoch[name] for epoch in epochs) for name in names}


def report(
    arguments: argparse.Namespace, rates: dict[str, list[float]], shares: list[dict[str, float]]
) -> None:
    alone, together = median(rates["alone"]), median(rates["together"])
    print(f"patch {arguments.patch}^3, one thread a process, medians of {arguments.repeats}")
    print(f"{'two independent runs':<34}{alone:>8.3f} patches/s")
    print(f"{'one run on two workers':<34}{together:>8.3f} patches/s")
    print(f"{'efficiency':<34}{together / alone:>8.3f}")
    for name, told in (
        ("perf/step_ms", "step, ms"),
        ("perf/allreduce_ms", "bare all-reduce, ms"),
        ("perf/allreduce_pct", "all-reduce, % of the step"),
        ("perf/data_wait_pct", "waiting for input, % of the step"),
    ):
        print(f"{told:<34}{median(share[name] for share in shares):>8.2f}")


def print_start_up(folder: Path, arguments: argparse.Namespace) -> None:
    """Seconds from the command to the end of a first epoch of one step, and Ray's own start."""
    code = "import ray; ray.init('local', num_cpus=2, include_dashboard=False)"
    begun = time.perf_counter()
    subprocess.run([sys.executable, "-c", code], capture_output=True, check=True)
    ray_start = time.perf_counter() - begun
    seconds = {}
    one_step = ("steps_per_epoch=1", "data.patch=[16,16,16]")
    for name, overrides in (
        ("none", ("batch_size=2", "threads=2", *one_step)),
        ("data", ("batch_size=2", "parallel=data", "nodes=2", *one_step)),
    ):
        begun = time.perf_counter()
        started = start(folder, arguments, f"start-{name}", *overrides)
        assert started[0].stdout is not None
        for line in started[0].stdout:
            if "epoch 1/" in line:
                seconds[name] = time.perf_counter() - begun
        finish(started)
    print(f"\n{'start-up, s: parallel=none':<34}{seconds['none']:>8.1f}")
    print(f"{'Ray alone (ray.init)':<34}{ray_start:>8.1f}")
    print(f"{'parallel=data nodes=2':<34}{seconds['data']:>8.1f}")
    ratio = seconds["data"] / (1.5 * seconds["none"] + ray_start)
    print(f"{'share of 1.5 x none + Ray':<34}{ratio:>8.2f}")


if __name__ == "__main__":
    main()
