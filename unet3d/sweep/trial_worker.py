"""The process that trains one trial after another, so that it imports TensorFlow only once."""

from __future__ import annotations

import gc
import os
import time
import traceback
from dataclasses import dataclass
from typing import Any

from unet3d import machine
from unet3d.cluster.failure import stderr_in
from unet3d.cluster.health import WatchedActor
from unet3d.cluster.nodes import WorkerResources
from unet3d.cluster.versions import found_here, node_problems
from unet3d.config.schema import Config
from unet3d.distributed.gpus import check_gpus, check_no_gpus, gpus_are_off
from unet3d.distributed.job_folder import JobFolder
from unet3d.distributed.progress import begin_progress
from unet3d.distributed.worker import WorkerContext
from unet3d.errors import RunError
from unet3d.sweep.resources import TrialResources

LOCK_SECONDS = 120.0  # for a worker of a killed sweep to notice that its driver is gone
GROWTH = 1.5  # of resident memory since the first trial, after which a worker is replaced

GPU_LEFT = 256 * 2**20  # bytes of former trials on the GPU, after which it is replaced, too


@dataclass(frozen=True)
class TrialJob:
    """What a worker is sent.

    grown: what each worker gets of a trial that has grown, else None. local: whether the Ray
    cluster is this machine's. environment: MLflow's variables as they are
    now, with the address of a server that was started after the worker.
    """

    config: Config
    folder: JobFolder
    restarts: int
    threads: int
    workers_per_trial: int
    local: bool
    environment: dict[str, str]
    grown: WorkerResources | None = None


@dataclass(frozen=True)
class AttemptOutcome:
    """What a worker sends back. kind: finished | stopped | regrouped, to go on with other devices |
    wrong, for an error that would come
    again | broken, for one that may not | lost, where its node or Ray went away; reusable: whether
    the worker can take another trial; output: the end of its stderr."""

    kind: str
    seconds: float
    error: str = ""
    reusable: bool = True
    output: str = ""


class TrialWorker(WatchedActor):
    """A Ray actor of two threads: it tells its progress while it trains."""

    def __init__(self, here: str, environment: dict[str, str]):
        os.environ.update(environment)
        os.chdir(here)
        machine.collect_rarely()
        self.first_memory = 0.0

    def prepare(
        self, config: Config, resources: TrialResources, driver: dict[str, str] | None
    ) -> str:
        """See that this node can train, and import what that needs; returns the node's name.

        driver: `found_here` of the sweep's process, None on its own machine. Raises RunError where
        the node has other versions, or its GPU cannot be used.
        """
        if driver is not None and (problems := node_problems(driver, [found_here()])):
            raise RunError(problems[0])
        if resources.workers_per_trial > 1:  # others do the training
            import unet3d.cluster.worker_group
        else:
            if not (resources.gpus or gpus_are_off(config)):  # Ray hides none from an actor without
                check_no_gpus("parallel.gpus_per_trial")
            check_gpus(config)
            from unet3d.logs import quiet_start

            with quiet_start():
                import tensorflow  # noqa: F401

                machine.tensorflow_gpus()
            import mlflow  # noqa: F401

            import unet3d.plotting  # noqa: F401
        return os.uname().nodename

    def run(self, job: TrialJob) -> AttemptOutcome:
        """Train; an error is part of the outcome, not raised."""
        from filelock import FileLock, Timeout

        from unet3d.cluster.worker_group import WorkerLost
        from unet3d.disk import disk_problem
        from unet3d.errors import FINAL_ERRORS, RunStopped, TrialRegrouped

        started = time.monotonic()
        begin_progress()
        os.environ.update(job.environment)

        def outcome(kind: str, error: str = "", reusable: bool = True) -> AttemptOutcome:
            return AttemptOutcome(kind, time.monotonic() - started, error, reusable)

        if not job.folder.path.is_dir():
            return outcome(
                "wrong", f"output_dir: node {os.uname().nodename} cannot see {job.folder.path}"
            )
        try:
            with (
                FileLock(job.folder.lock, timeout=LOCK_SECONDS),
                stderr_in(job.folder.stderr()),
            ):
                train_trial(job)
            return outcome("finished", reusable=self._clear(job))
        except TrialRegrouped as regrouped:
            return outcome("regrouped", str(regrouped), self._clear(job))
        except RunStopped as stopped:
            return outcome("stopped", str(stopped), self._clear(job))
        except FINAL_ERRORS as error:
            return outcome("wrong", str(error), self._clear(job))
        except WorkerLost as lost:
            kind = "lost" if lost.failure.node_lost else "broken"
            return outcome(kind, lost.failure.reason, reusable=False)
        except Timeout:
            return outcome("broken", f"another process holds {job.folder.lock}")
        except Exception as error:
            if problem := disk_problem(error):
                return outcome("wrong", problem, self._clear(job))
            return outcome("broken", traceback.format_exc(), reusable=False)

    def _clear(self, job: TrialJob) -> bool:
        """Free the trial's network; returns whether memory has come back down, the GPU's too."""
        if job.workers_per_trial > 1:  # others have trained
            return True
        import keras
        import psutil

        keras.backend.clear_session()
        gc.collect()
        memory = psutil.Process().memory_info().rss
        self.first_memory = self.first_memory or memory
        return memory < GROWTH * self.first_memory and machine.gpu_memory_in_use() < GPU_LEFT


def train_trial(job: TrialJob) -> None:
    """The training of train.py, on this worker alone or over a group of others."""
    from unet3d.cluster.data_parallel import train_grown, train_in_cluster
    from unet3d.distributed.stop import stop_requests
    from unet3d.training.run import run_training

    worker = WorkerContext(threads=job.threads, restarts=job.restarts, job_folder=job.folder)
    if job.workers_per_trial == 1:
        run_training(job.config, worker)
        return
    with stop_requests(worker) as stop:
        if job.grown is not None:
            train_grown(job.config, job.folder, job.local, stop, job.grown, job.restarts)
            return
        train_in_cluster(job.config, job.folder, job.local, stop)


def remote_worker(resources: TrialResources, options: dict[str, Any]) -> Any:
    """The actor class with a trial's resources; a group's driver leaves them to its workers."""
    import ray

    own = resources.workers_per_trial == 1
    return ray.remote(TrialWorker).options(
        num_cpus=resources.cpus if own else 0,
        num_gpus=resources.gpus if own else 0,
        max_restarts=0,
        max_concurrency=2,
        **options,
    )
