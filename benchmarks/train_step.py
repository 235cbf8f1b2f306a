"""What the loop costs beyond the bare training step: python benchmarks/train_step.py

An epoch of the real loop (stream, augmentation, bookkeeping, checkpoint) against as many calls of
the same compiled step on one batch that is already in memory, in turn, on phantoms. The ratio's
goal is 1.05 at most.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from pathlib import Path
from statistics import median

from unet3d.config.compose import compose_config
from unet3d.logs import log_to_console


def main() -> None:
    """Print a row for each augmentation preset."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--patch", type=int, default=64)
    arguments = parser.parse_args()
    log_to_console()
    rows = []
    with tempfile.TemporaryDirectory() as folder:
        for augment in ("none", "light", "full"):
            rows.append((augment, *measure(Path(folder), augment, arguments)))
    print(f"\npatch {arguments.patch}^3, batch 2, medians of {arguments.repeats}")
    print(
        f"{'augment':<8} {'bare ms/step':>13} {'epoch ms/step':>14} {'ratio':>7} {'waiting %':>10}"
    )
    for augment, bare, epoch, wait in rows:
        print(f"{augment:<8} {bare:>13.1f} {epoch:>14.1f} {epoch / bare:>7.3f} {wait:>10.2f}")


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
