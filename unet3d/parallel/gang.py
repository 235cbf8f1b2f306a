"""Workers that train together, placed by Ray all at once, and watched until they end.

Plain actors rather than Ray Train, which starts six processes of its own beside them:
docs/decisions/0005-data-parallel-jobs.md has the figures.
"""

from __future__ import annotations

import logging
import socket
import time
from dataclasses import dataclass, field
from typing import Any

import ray
from ray.exceptions import RayActorError, RayError, RayTaskError
from ray.util.scheduling_strategies import PlacementGroupSchedulingStrategy

from unet3d.data.atomic import write_text
from unet3d.parallel.cluster import Offer
from unet3d.parallel.lost import told
from unet3d.parallel.worker import FINAL, Job, raise_told, work
from unet3d.training.stop import StopRequest

log = logging.getLogger(__name__)
PING_SECONDS = 1.0
SETTLE_SECONDS = 2.0  # in which peers of a lost worker end too, the lost one perhaps among them


class WorkerLost(Exception):
    """A worker ended, or does not answer; another attempt may do better."""


class GangWorker:
    """A Ray actor of two threads: it answers `ping` while it trains."""

    def address(self) -> str:
        """This node's address with a port that nobody listens on."""
        host = ray.util.get_node_ip_address()
        with socket.socket() as probe:
            probe.bind(("", 0))
            return f"{host}:{probe.getsockname()[1]}"

    def run(self, job: Job, rank: int, addresses: list[str]) -> float | None:
        """Train as worker `rank` of those at `addresses`."""
        try:
            return work(job, rank, addresses)
        except FINAL:
            raise
        except Exception as error:  # its class may be TensorFlow's, which the driver does without
            raise RuntimeError(f"{type(error).__name__}: {error}") from None

    def ping(self) -> None:
        """Answer."""


@dataclass
class Gang:
    """Workers under way. asked: when each was last asked for an answer that has not come."""

    workers: list[Any]
    runs: dict[Any, int]  # reference -> rank
    pings: dict[Any, int] = field(default_factory=dict)
    asked: dict[int, float] = field(default_factory=dict)
    result: float | None = None


def train_gang(
    job: Job, workers: int, chosen: Offer, group: Any, hang_timeout: float, stop: StopRequest
) -> float | None:
    """Train on the places of a placement group; returns what the chief returns.

    Raises what a worker told for good, or WorkerLost with the reason.
    """
    remote: Any = ray.remote(GangWorker)
    actors = [
        remote.options(
            num_cpus=chosen.cpus,
            num_gpus=chosen.gpus,
            max_restarts=0,
            max_concurrency=2,
            scheduling_strategy=PlacementGroupSchedulingStrategy(group, bundle),
        ).remote()
        for bundle in range(workers)
    ]
    try:
        addresses = ray.get([actor.address.remote() for actor in actors])
        runs = {actor.run.remote(job, rank, addresses): rank for rank, actor in enumerate(actors)}
        return _watch(Gang(actors, runs), job, hang_timeout, stop)
    except RayActorError as error:
        raise WorkerLost(told(error)) from error
    finally:
        for actor in actors:
            ray.kill(actor)


def _watch(gang: Gang, job: Job, hang_timeout: float, stop: StopRequest) -> float | None:
    """Until all have ended; a request to stop is handed on."""
    while gang.runs:
        ready, _ = ray.wait(list(gang.runs), timeout=0.2)
        for reference in ready:
            rank = gang.runs.pop(reference)
            try:
                value = ray.get(reference)
            except RayError as error:
                raise_told(job.folder, stop)
                raise _final(error) or WorkerLost(_settled_reason(gang, error)) from error
            if rank == 0:
                gang.result = value
        _check_answers(gang, hang_timeout)
        if stop.signal is not None and not (job.folder / "stop").exists():
            log.info("stopping: the workers save after their step; Ctrl-C again stops at once")
            write_text(job.folder / "stop", str(stop.signal))
    raise_told(job.folder, stop)
    return gang.result


def _check_answers(gang: Gang, hang_timeout: float) -> None:
    """WorkerLost where a worker has not answered for `hang_timeout` seconds."""
    now = time.monotonic()
    if gang.pings:
        for reference in ray.wait(list(gang.pings), num_returns=len(gang.pings), timeout=0)[0]:
            del gang.pings[reference]
    waited_for = set(gang.pings.values())
    for rank in gang.runs.values():
        if rank not in waited_for and now - gang.asked.get(rank, 0.0) > PING_SECONDS:
            gang.asked[rank] = now
            gang.pings[gang.workers[rank].ping.remote()] = rank
        elif rank in waited_for and now - gang.asked[rank] > hang_timeout:
            raise WorkerLost(_silent(rank))


def _final(error: RayError) -> Exception | None:
    """An error that a worker raised for good, such as one whose node does not see the folder."""
    cause = error.cause if isinstance(error, RayTaskError) else None
    return cause if isinstance(cause, FINAL) else None


def _settled_reason(gang: Gang, error: RayError) -> str:
    """Why the gang ended: the worker that died or is silent, not the peers that miss it."""
    errors = [error]
    ready, _ = ray.wait(list(gang.runs), num_returns=len(gang.runs), timeout=SETTLE_SECONDS)
    for reference in ready:
        try:
            ray.get(reference)
        except RayError as another:
            errors.append(another)
    died = [one for one in errors if isinstance(one, RayActorError)]
    if died:
        return told(died[0])
    now = time.monotonic()
    silent = [r for r in gang.pings.values() if now - gang.asked[r] > SETTLE_SECONDS]
    return _silent(silent[0]) if silent else told(error)


def _silent(rank: int) -> str:
    return f"worker {rank} does not answer"
