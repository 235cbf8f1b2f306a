"""The process that trains one trial after the other, so that it imports TensorFlow only once."""

from __future__ import annotations

import gc
import os
import time
import traceback
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from unet3d.config import Config
from unet3d.parallel.place import Place

LOCK_SECONDS = 120.0  # for a process of a killed sweep to notice that it is alone
GROWTH = 1.5  # of resident memory since the first trial, after which a worker is replaced


@dataclass(frozen=True)
class Task:
    """What a worker is sent.

    local: whether the Ray cluster is this machine's. environment: MLflow's variables as they are
    now, with the address of a server that was started after the worker.
    """

    config: Config
    folder: Path  # of the trial
    restarts: int
    threads: int
    gang: int
    local: bool
    environment: dict[str, str]


@dataclass(frozen=True)
class Report:
    """What a worker sends back. kind: finished | stopped | wrong, for an error that comes again |
    broken, for one that may not; reusable: whether it takes another trial."""

    kind: str
    seconds: float
    error: str = ""
    reusable: bool = True


class TrialWorker:
    """A Ray actor."""

    def __init__(self, here: str, environment: dict[str, str]):
        os.environ.update(environment)
        os.chdir(here)
        self.first_memory = 0.0

    def prepare(self, gang: bool) -> str:
        """Import what a training needs; returns the node's name. A gang's driver does not train."""
        if gang:
            import unet3d.parallel.gang
        else:
            from unet3d.quiet import quiet_start

            with quiet_start():
                import tensorflow as tf

                tf.config.list_physical_devices()
            import mlflow  # noqa: F401

            import unet3d.training.loop
            import unet3d.visualize  # noqa: F401
        return os.uname().nodename

    def run(self, task: Task) -> Report:
        """Train; errors are told, not raised, but for the end of this process."""
        from filelock import FileLock, Timeout

        from unet3d.parallel.worker import FINAL
        from unet3d.training.errors import RunStopped

        started = time.monotonic()
        os.environ.update(task.environment)

        def report(kind: str, error: str = "", reusable: bool = True) -> Report:
            return Report(kind, time.monotonic() - started, error, reusable)

        if not task.folder.is_dir():
            return report(
                "wrong", f"output_dir: {task.folder} is not seen by {os.uname().nodename}"
            )
        try:
            with FileLock(task.folder / ".lock", timeout=LOCK_SECONDS):
                train_trial(task)
            return report("finished", reusable=task.gang > 1 or self._clear())
        except RunStopped as stopped:
            return report("stopped", str(stopped), self._clear())
        except FINAL as error:
            return report("wrong", str(error), self._clear())
        except Timeout:
            return report("broken", f"another process holds {task.folder}")
        except Exception:
            return report("broken", traceback.format_exc(), reusable=False)

    def _clear(self) -> bool:
        """Let go of the trial's network; whether memory is as before, but for what is kept."""
        import keras
        import psutil

        keras.backend.clear_session()
        gc.collect()
        memory = psutil.Process().memory_info().rss
        self.first_memory = self.first_memory or memory
        return memory < GROWTH * self.first_memory


def train_trial(task: Task) -> None:
    """The training of train.py, alone on this worker or over a gang of others."""
    from unet3d.parallel.data_job import train_in_cluster
    from unet3d.training.job import run_training
    from unet3d.training.stop import stop_requests

    place = Place(threads=task.threads, restarts=task.restarts, job=task.folder)
    if task.gang == 1:
        run_training(task.config, [], place)
        return
    with stop_requests(place) as stop:
        train_in_cluster(task.config, [], task.folder, task.local, stop)


def remote_worker(share: Any, options: dict[str, Any]) -> Any:
    """The actor class with a trial's share; the driver of a gang takes none of it."""
    import ray

    own = share.gang == 1
    return ray.remote(TrialWorker).options(
        num_cpus=share.cpus if own else 0,
        num_gpus=share.gpus if own else 0,
        max_restarts=0,
        **options,
    )
