"""What the loop costs beyond the bare training step: python benchmarks/train_step.py

An epoch of the real loop (stream, augmentation, bookkeeping, checkpoint) against as many calls of
the same compiled step on one batch that is already in memory, in turn, on phantoms. The ratio's
goal is 1.05 at most.

With --peer PYTHON, which has torch, the bare step instead against the same network's there, each
side in processes of its own that take turns; the best of torch's layouts counts.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from statistics import median
from typing import Any

from unet3d.config.compose import compose_config
from unet3d.logs import log_to_console

STEPS = 8  # of a process, after three that are not counted
TORCH = ("float32", "float32 channels-last", "bfloat16", "bfloat16 channels-last")


def main() -> None:
    """Print a row for each augmentation preset."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--patch", type=int, default=64)
    parser.add_argument("--peer", help="Python that has torch; 96^3 voxels unless --patch says")
    parser.add_argument("--side", help="for the processes that this one starts")
    arguments = parser.parse_args()
    if arguments.side:
        print(json.dumps({"ms": bare_step(arguments.side, arguments.patch)}))
        return
    if arguments.peer:
        against_torch(arguments)
        return
    log_to_console()
    rows: list[tuple[Any, ...]] = []
    with tempfile.TemporaryDirectory() as folder:
        for augment in ("none", "light", "full"):
            rows.append((augment, *measure(Path(folder), augment, arguments)))
    print(f"\npatch {arguments.patch}^3, batch 2, medians of {arguments.repeats}")
    print(
        f"{'augment':<8} {'bare ms/step':>13} {'epoch ms/step':>14} {'ratio':>7} {'waiting %':>10}"
    )
    for augment, bare, epoch, wait in rows:
        print(f"{augment:<8} {bare:>13.1f} {epoch:>14.1f} {epoch / bare:>7.3f} {wait:>10.2f}")


def against_torch(arguments: argparse.Namespace) -> None:
    """Print milliseconds of each variant of either side, and the ratio of the best."""
    patch = str(96 if arguments.patch == 64 else arguments.patch)
    torch_script = str(Path(__file__).with_name("train_step_torch.py"))
    found: dict[str, list[float]] = {}
    for _ in range(arguments.repeats):
        for precision in ("float32", "mixed_bfloat16"):
            side = [sys.executable, __file__, "--side", precision, "--patch", patch]
            found.setdefault(f"unet3d {precision}", []).append(milliseconds(side))
        for variant in TORCH:
            peer = [arguments.peer, torch_script, variant, patch, "2", str(STEPS)]
            found.setdefault(f"torch {variant}", []).append(milliseconds(peer))
    print(f"patch {patch}^3 x 4, batch 2, best of {arguments.repeats} processes of {STEPS} steps")
    for name, each in found.items():
        print(f"{name:<32} {min(each):8.1f} ms")
    for own, kind in (("float32", "float32"), ("mixed_bfloat16", "bfloat16")):
        best = min(min(found[f"torch {v}"]) for v in TORCH if v.startswith(kind))
        print(f"{kind}: torch / unet3d = {best / min(found[f'unet3d {own}']):.2f}")


def milliseconds(command: list[str]) -> float:
    """What a side has printed. Ends this benchmark where it fails."""
    done = subprocess.run(command, capture_output=True, text=True)
    if done.returncode:
        sys.exit(f"{' '.join(command)} failed:\n{done.stderr[-2000:]}")
    return float(json.loads(done.stdout.splitlines()[-1])["ms"])


def bare_step(precision: str, patch: int) -> float:
    """Milliseconds of a training step on a batch of two random patches in memory."""
    import numpy as np

    from unet3d.distributed.worker import SINGLE_WORKER
    from unet3d.training.setup import make_setup
    from unet3d.training.step import make_train_step

    with tempfile.TemporaryDirectory() as folder:
        config = compose_config(
            [
                *("experiment=smoke", "tracking=none", f"precision={precision}"),
                *(f"output_dir={folder}", f"data.root={folder}/phantom", "model.filters=8"),
                *("model.depth=3", "data.patch=[32,32,24]"),
            ]
        )
        setup = make_setup(config, SINGLE_WORKER)
        step = make_train_step(setup.state, setup.config, setup.targets, setup.strategy)
        random = np.random.default_rng(0)
        images = random.normal(size=(2, *[patch] * 3, 4)).astype(np.float32)
        labels = random.integers(0, 4, images.shape[:-1]).astype(np.uint8)
        seconds = []
        for _ in range(3 + STEPS):
            start = time.perf_counter()
            float(step(images, labels).loss)
            seconds.append(time.perf_counter() - start)
    return 1000 * median(seconds[3:])


def measure(folder: Path, augment: str, arguments: argparse.Namespace) -> tuple[float, ...]:
    """Milliseconds a bare step and a step of the loop, and the share of the loop's waiting."""
    patch = [arguments.patch] * 3
    config = compose_config(
        [
            f"output_dir={folder}",
            f"data.root={folder}/phantom",
            f"data.patch={patch}",
            f"augment={augment}",
            "tracking=none",
            "data.phantom.shape=[96,96,80]",
            "steps_per_epoch=20",
            "epochs=1000",
        ]
    )
    from unet3d.distributed.stop import StopRequest
    from unet3d.distributed.worker import SINGLE_WORKER
    from unet3d.tracking.run import start_run
    from unet3d.training.checkpoint import TrainingProgress, save_checkpoint
    from unet3d.training.loop import Training, run_epoch
    from unet3d.training.setup import make_setup
    from unet3d.training.step import make_train_step
    from unet3d.training.trace import StepTrace

    setup = make_setup(config, SINGLE_WORKER)
    tracker, run = start_run(config, None)
    training = Training(**vars(setup), tracker=tracker, folder=run, stop=StopRequest())
    step = make_train_step(setup.state, setup.config, setup.targets, setup.strategy)
    batches = iter(setup.stream.dataset())
    images, labels = next(batches)
    for _ in range(3):
        float(step(images, labels).loss)
    bare, epochs, waiting = [], [], []
    progress = TrainingProgress()
    for repeat in range(arguments.repeats + 1):
        start = time.perf_counter()
        for _ in range(20):
            float(step(images, labels).loss)
        bare.append((time.perf_counter() - start) / 20)
        start = time.perf_counter()
        times = run_epoch(training, progress, step, batches, repeat + 1, StepTrace(run.trace, 0))
        save_checkpoint(run, setup.state.variables(), progress)
        epochs.append((time.perf_counter() - start) / 20)
        waiting.append(times.metrics(config.batch_size)["perf/data_wait_pct"])
        progress.epoch_loss, progress.epoch_counts = 0.0, None
    return 1000 * median(bare[1:]), 1000 * median(epochs[1:]), median(waiting[1:])


if __name__ == "__main__":
    main()
