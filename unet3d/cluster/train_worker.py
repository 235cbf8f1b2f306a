"""One worker of a data-parallel job: what it is sent, what it runs, how it reports an error."""

from __future__ import annotations

import json
import os
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path

from unet3d.cluster.failure import stderr_in
from unet3d.config.schema import Config
from unet3d.disk import disk_problem
from unet3d.distributed.gpus import check_no_gpus, gpus_are_off
from unet3d.distributed.job_folder import JobFolder
from unet3d.distributed.progress import begin_progress
from unet3d.distributed.worker import WorkerContext
from unet3d.errors import FINAL_ERRORS, RunError, RunStopped
from unet3d.machine import collect_rarely


@dataclass(frozen=True)
class TrainJob:
    """What each worker is sent."""

    config: Config
    folder: JobFolder
    here: Path  # working folder, which relative paths start from
    environment: dict[str, str]
    threads: int
    restarts: int
    gpus: int = 0  # that Ray has given to each


def train_as_worker(job: TrainJob, rank: int, addresses: list[str]) -> float | None:
    """What each worker runs: the training of a run alone, as worker `rank` of a group.

    addresses: of all workers, host:port.
    Raises RunError where this node cannot see the job's folder.
    """
    collect_rarely()
    os.environ.update(job.environment)  # before TensorFlow, which reads it when it is imported
    from unet3d.training.run import run_training

    if not job.here.is_dir() or not (job.here / job.folder.path).is_dir():
        raise RunError(
            f"output_dir: node {os.uname().nodename} cannot see "
            f"{job.here / job.config.output_dir}; choose a folder that all nodes share"
        )
    begin_progress()
    os.chdir(job.here)
    os.environ["TF_CONFIG"] = json.dumps(
        {"cluster": {"worker": addresses}, "task": {"type": "worker", "index": rank}}
    )
    worker = WorkerContext(
        rank=rank,
        workers=len(addresses),
        hosts=tuple(address.rpartition(":")[0] for address in addresses),
        threads=job.threads,
        restarts=job.restarts,
        job_folder=job.folder,
    )
    config = job.config
    if config.data.workers is None:
        config = replace(config, data=replace(config.data, workers=job.threads))
    run_id = job.folder.run_id()
    if job.restarts and run_id:
        config = replace(config, resume=run_id)
    try:
        with stderr_in(job.folder.stderr(rank)):
            if not (job.gpus or gpus_are_off(config)):  # Ray hides none from a worker without
                check_no_gpus("parallel.gpus_per_node")
            return run_training(config, worker)
    except RunStopped as stopped:
        if worker.chief:  # the others do not know why
            job.folder.report_error(stopped)
        return None
    except FINAL_ERRORS as error:
        job.folder.report_error(error)
        raise
    except Exception as error:
        problem = disk_problem(error)
        if problem is None:
            raise
        final = RunError(problem)
        with suppress(OSError):  # it is raised too, and the disk may be full
            job.folder.report_error(final)
        raise final from error
