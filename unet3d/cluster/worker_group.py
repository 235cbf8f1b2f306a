"""Workers that train together: Ray places all of them or none, and they are watched to the end.

Plain actors rather than Ray Train, which starts six more processes of its own:
docs/decisions/0005-data-parallel-jobs.md has the figures.
"""

from __future__ import annotations

import logging
import time
from dataclasses import dataclass
from typing import Any

import ray
from ray.exceptions import RayActorError, RayError, RayTaskError
from ray.util.scheduling_strategies import PlacementGroupSchedulingStrategy

from unet3d.cluster.addresses import own_address
from unet3d.cluster.failure import WorkerFailure, worker_failure
from unet3d.cluster.health import HealthWatch, WatchedActor
from unet3d.cluster.local_ray import check_ray, get_watched, ray_lives
from unet3d.cluster.nodes import WorkerResources
from unet3d.cluster.train_worker import TrainJob, train_as_worker
from unet3d.config.schema import ParallelConfig
from unet3d.distributed.progress import STEP, begin
from unet3d.distributed.stop import StopRequest
from unet3d.errors import FINAL_ERRORS

log = logging.getLogger(__name__)
SETTLE_SECONDS = 2.0  # in which the peers of a lost worker end too, and it shows which was lost


class WorkerLost(Exception):
    """A worker ended, does not answer or is stuck. steps: that the attempt had finished."""

    def __init__(self, failure: WorkerFailure, rank: int | None = None, steps: int = 0):
        super().__init__(failure.reason)
        self.failure, self.rank, self.steps = failure, rank, steps


class GroupWorker(WatchedActor):
    """A Ray actor of two threads: it tells its progress while it trains."""

    def address(self, parallel: ParallelConfig, rank: int, workers: int) -> str:
        """Where worker `rank` listens."""
        return own_address(parallel, rank, workers)

    def run(self, job: TrainJob, rank: int, addresses: list[str]) -> float | None:
        """Train as worker `rank` of those at `addresses`."""
        try:
            return train_as_worker(job, rank, addresses)
        except FINAL_ERRORS:
            raise
        except Exception as error:  # its class may be TensorFlow's, which the driver cannot import
            raise RuntimeError(f"{type(error).__name__}: {error}") from None


@dataclass
class WorkerGroup:
    """Workers that are training."""

    actors: list[Any]  # by rank
    runs: dict[Any, int]  # reference -> rank, of those that have not ended
    health: HealthWatch
    result: float | None = None  # of the chief


def train_worker_group(
    job: TrainJob,
    workers: int,
    resources: WorkerResources,
    placement: Any,
    stop: StopRequest,
) -> float | None:
    """Train on Ray's placement group `placement`; returns what the chief returns.

    Raises the error that a worker reported, WorkerLost with the reason, or RayLost.
    """
    remote: Any = ray.remote(GroupWorker)
    actors = [
        remote.options(
            num_cpus=resources.cpus,
            num_gpus=resources.gpus,
            max_restarts=0,
            max_concurrency=2,
            scheduling_strategy=PlacementGroupSchedulingStrategy(placement, bundle),
        ).remote()
        for bundle in range(workers)
    ]
    try:
        addresses = get_watched(
            [
                actor.address.remote(job.config.parallel, rank, workers)
                for rank, actor in enumerate(actors)
            ]
        )
        runs = {actor.run.remote(job, rank, addresses): rank for rank, actor in enumerate(actors)}
        health = HealthWatch(job.config.parallel)
        return _watch(WorkerGroup(actors, runs, health), job, stop)
    except RayTaskError as error:  # of `address`
        raise _final(error) or WorkerLost(worker_failure(error)) from error
    except RayActorError as error:
        raise WorkerLost(worker_failure(error)) from error
    finally:
        if ray_lives():
            for actor in actors:
                ray.kill(actor)


def _watch(group: WorkerGroup, job: TrainJob, stop: StopRequest) -> float | None:
    """Wait until all have ended; a request to stop is passed on."""
    asked: float | None = None
    while group.runs:
        check_ray()
        ready, _ = ray.wait(list(group.runs), timeout=0.2)
        for reference in ready:
            rank = group.runs.pop(reference)
            try:
                value = ray.get(reference)
            except RayError as error:
                check_ray()
                lost = _settled(group, rank, error)
                job.folder.raise_error(stop.exit_code)
                raise _final(error) or lost from error
            if rank == 0:
                group.result = value
        actors = {rank: group.actors[rank] for rank in group.runs.values()}
        if reason := group.health.look(actors, asked):
            raise WorkerLost(WorkerFailure(reason), steps=group.health.steps())
        if stop.signal is not None and asked is None:
            log.info("stopping: the workers save after their step; Ctrl-C again stops at once")
            job.folder.ask_to_stop(stop.signal)
            asked = time.monotonic()
        begin(STEP)  # of what a sweep watches, where this process runs its trial
    job.folder.raise_error(stop.exit_code)
    return group.result


def _final(error: RayError) -> Exception | None:
    """An error that would come again, such as that of a node that cannot see the job's folder."""
    cause = error.cause if isinstance(error, RayTaskError) else None
    return cause if isinstance(cause, FINAL_ERRORS) else None


def _settled(group: WorkerGroup, rank: int, error: RayError) -> WorkerLost:
    """Why the group ended: the worker that died or is silent, not the peers that wait for it."""
    errors = {rank: error}
    ready, _ = ray.wait(list(group.runs), num_returns=len(group.runs), timeout=SETTLE_SECONDS)
    for reference in ready:
        try:
            ray.get(reference)
        except RayError as another:
            errors[group.runs[reference]] = another
    steps = group.health.steps()
    died = [key for key, one in errors.items() if isinstance(one, RayActorError)]
    if not died and (silent := group.health.silent(group.runs.values(), SETTLE_SECONDS)):
        return WorkerLost(WorkerFailure(f"worker {silent[0]} does not answer"), steps=steps)
    first = died[0] if died else rank
    return WorkerLost(worker_failure(errors[first]), first, steps)
