"""A sweep of 1,000 trials without its trainings: python benchmarks/at_size.py

The training of each trial is replaced (marked so): a worker writes what a run leaves, its folder,
MLflow run, epochs and validation table, with made-up figures. Scheduler, MLflow's store, resuming,
verdict and report are the real ones. The sweep is killed at half of its trials and typed again.
Prints the sweep's own processor time a trial, its memory at a quarter and at the end, how long it
takes to go on and to end, and the size of the page and, where there is Chromium, when it is ready.
About five minutes on 2 cores; docs/decisions/0032-a-thousand-trials.md has its figures.
"""

from __future__ import annotations

import argparse
import os
import random
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import psutil

REPOSITORY = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(REPOSITORY))

from unet3d.sweep.trial_worker import AttemptOutcome, TrialJob, TrialWorker  # noqa: E402

NAME = "at-size"
CASES = 20  # in each trial's validation table
EPOCHS = 10


class QuickWorker(TrialWorker):
    """A worker that writes a run in place of training it."""

    def prepare(self, config: Any, resources: Any, driver: Any) -> str:
        """Nothing of TensorFlow is imported."""
        import mlflow  # noqa: F401

        return os.uname().nodename

    def run(self, job: TrialJob) -> AttemptOutcome:
        """All that a run leaves; the figures follow from the trial's settings."""
        from unet3d.tracking.connection import connect
        from unet3d.tracking.run import start_run

        started = time.monotonic()
        config, drawn = job.config, random.Random(job.folder.path.name)
        tracker, folder = start_run(config, connect(config))
        job.folder.announce_run(folder.run_id)
        reached = drawn.uniform(0.6, 0.9)
        for epoch in range(1, config.epochs + 1):
            dice = reached * (1 - 0.5**epoch)
            metrics = {"train/loss": 1 - dice, "val/loss": 1 - dice, "val/dice": dice}
            record = {"epoch": epoch, "time": int(1000 * time.time()), "metrics": metrics}
            tracker.log_epoch(record)
            job.folder.record_epoch(record)
        rows = [f"case-{number},{dice}" for number in range(CASES)]
        folder.case_scores.write_text("\n".join(["case,dice", *rows]) + "\n")
        tracker.finish("FINISHED")
        return AttemptOutcome("finished", time.monotonic() - started)


def main() -> None:
    """Print what the sweep has taken."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--trials", type=int, default=1000, help="a multiple of 50")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        print("trainings replaced; all else is real", flush=True)
        first = watch(folder, arguments.trials, until=arguments.trials // 2)
        again = watch(folder, arguments.trials)
        row("own processor time a trial, ms", 1000 * first.seconds / first.ended)
        row("  after it was killed, ms", 1000 * again.seconds / (again.ended or 1))
        row("memory at a quarter, MB", first.memory_at_quarter / 1e6)
        row("memory at half, MB", first.memory / 1e6)
        row("memory at the end, MB", again.memory / 1e6)
        row("until it has gone on after the kill, s", again.first_new)
        row("from the last trial to the sweep's end, s", again.end)
        page = folder / "outputs" / "sweeps" / NAME / "report" / "index.html"
        row("page, MB", page.stat().st_size / 1e6)
        opened = seconds_to_open(page)
        row("page in the browser, s", opened) if opened is not None else print("no Chromium here")


def row(what: str, value: float) -> None:
    """One figure."""
    print(f"{what:<46}{value:>10.2f}", flush=True)


class Watched:
    """What a command of the sweep has taken. seconds: of its own processor time."""

    def __init__(self) -> None:
        self.seconds = self.memory = self.memory_at_quarter = 0.0
        self.first_new = self.end = 0.0
        self.ended = 0


def watch(folder: Path, trials: int, until: int | None = None) -> Watched:
    """Run the sweep; kill it after `until` trials."""
    found, before = Watched(), count(folder)
    log = folder / f"log-{before}"
    environment = {**os.environ, "PYTHONPATH": str(REPOSITORY), "TF_CPP_MIN_LOG_LEVEL": "2"}
    begun = time.monotonic()
    with log.open("w") as output:
        process = subprocess.Popen(
            [sys.executable, __file__, "--drive", *overrides(trials)],
            cwd=folder,
            env=environment,
            stdout=output,
            stderr=subprocess.STDOUT,
        )
        own = psutil.Process(process.pid)
        last = 0.0
        while process.poll() is None:
            done = count(folder)
            if done > before and not found.first_new:
                found.first_new = time.monotonic() - begun
            if done < trials:
                last = time.monotonic()
            measure(own, found, done, trials)
            if until is not None and done >= until:
                process.kill()
            time.sleep(0.2)
    found.ended = count(folder) - before
    found.end = time.monotonic() - last
    if until is None and process.returncode:
        sys.exit(log.read_text()[-3000:])
    return found


def measure(own: psutil.Process, found: Watched, done: int, trials: int) -> None:
    """Keep the processor time and the memory of the process, which may have ended."""
    try:
        times, memory = own.cpu_times(), own.memory_info().rss
    except psutil.Error:
        return
    if not memory:  # it is ending
        return
    found.seconds, found.memory = times.user + times.system, float(memory)
    if done <= trials // 4:
        found.memory_at_quarter = float(memory)


def count(folder: Path) -> int:
    """Trials that have ended."""
    return len(list(folder.glob(f"outputs/sweeps/{NAME}/trials/*/ended.json")))


def overrides(trials: int) -> list[str]:
    """Of a grid of so many trials."""
    rates = ",".join(f"{1e-4 * (1 + step):.4g}" for step in range(trials // 50))
    betas = ",".join(f"{0.9 + 0.004 * step:.4g}" for step in range(25))
    return [
        *("-m", f"lr={rates}", f"optimizer.beta_2={betas}", "optimizer.amsgrad=true,false"),
        *("experiment=smoke", f"epochs={EPOCHS}", f"sweep.name={NAME}", "sweep.forecast=false"),
        *("parallel.trials_at_once=2", "tracking=mlflow", "tracking.system_metrics=false"),
    ]


def seconds_to_open(page: Path) -> float | None:
    """Until Chromium has loaded the page and drawn it; None where there is no Chromium."""
    from tests.e2e.browser import CHROMEDRIVER, CHROMIUM, browser

    if not (CHROMIUM.exists() and CHROMEDRIVER.exists()):
        return None
    with browser(page.parent) as shown:
        begun = time.monotonic()
        shown.driver.get(page.as_uri())
        shown.driver.execute_async_script(
            "const done = arguments[0]; requestAnimationFrame(() => requestAnimationFrame(done));"
        )
        return time.monotonic() - begun


def drive() -> None:
    """The command sweep.py, with workers that do not train."""
    sys.argv.remove("--drive")
    import ray

    from unet3d.cli.hydra_start import run_hydra
    from unet3d.cli.programs import trial
    from unet3d.sweep import worker_pool

    def quick(resources: Any, options: dict[str, Any]) -> Any:
        return ray.remote(QuickWorker).options(
            num_cpus=resources.cpus, max_concurrency=2, **options
        )

    worker_pool.remote_worker = quick
    run_hydra(trial, "sweep")


if __name__ == "__main__":
    drive() if "--drive" in sys.argv else main()
