"""Data parallelism over nodes: a group of workers on Ray, started again when one is lost."""

from __future__ import annotations

import logging
import signal
import time
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, NoReturn

from unet3d.cluster.environment import worker_environment
from unet3d.cluster.failure import shown
from unet3d.cluster.follow_log import print_chief_log
from unet3d.cluster.local_ray import RayLost, ray_lives, start_ray_again
from unet3d.cluster.nodes import (
    WorkerResources,
    alive_nodes,
    choose_resources,
    required,
    reserve_workers,
    serving,
)
from unet3d.cluster.ray_cluster import cluster_address, ray_cluster
from unet3d.cluster.train_worker import TrainJob
from unet3d.cluster.versions import check_versions
from unet3d.config.command_line import resume_command
from unet3d.config.schema import Config
from unet3d.distributed.gpus import check_gpus
from unet3d.distributed.job_folder import JobFolder, temporary_job_folder
from unet3d.distributed.stop import StopRequest, stop_requests
from unet3d.distributed.writer import check_free, end_for
from unet3d.errors import FINAL_ERRORS, RunError, RunStopped
from unet3d.logs import log_to_console
from unet3d.run_folder import run_folder

log = logging.getLogger(__name__)
NOTICE_SECONDS = 120.0  # for Ray to notice that a node is gone
CLOSE_SECONDS = 75.0  # for the processes of a lost attempt to end, or to count as dead
HEAD_SAVE_SECONDS = 60.0  # for workers to save without a head, after which Ray ends its nodes
MAX_NODES_LOST = 20  # without an epoch in between


def run_on_nodes(config: Config) -> float | None:
    """Train over `config.nodes` workers; returns the best val/dice. config: as of run_training.

    When a worker dies or hangs, or Ray itself, all of them start again from the last checkpoint, in
    the same MLflow run, up to parallel.max_failures times. Raises ConfigError, DataError or
    RunError, and RunStopped after a signal.
    """
    from unet3d.training.setup import make_data

    log_to_console()
    with stop_requests() as stop:
        if cluster_address(config) is None:  # the workers will share this machine
            check_gpus(config)
        if config.resume:
            state = run_folder(config.output_dir, config.resume).state
            check_free(state, f"run {config.resume} is being trained")
        make_data(config)  # an error in the data shows before Ray starts
        with (
            temporary_job_folder(config.output_dir) as folder,
            ray_cluster(config, f"{config.nodes} workers run here") as local,
            print_chief_log(config, folder),
        ):
            stop.deferred = True
            return train_in_cluster(config, folder, local, stop)


@dataclass(frozen=True)
class Failure:
    """Why an attempt ended early. epochs: that the run had behind it; steps: of the attempt."""

    reason: str
    epochs: int
    steps: int = 1
    node_lost: bool = False


@dataclass(frozen=True)
class Reservation:
    """How many workers, what each gets, and the placement group that Ray has reserved for them."""

    workers: int
    resources: WorkerResources
    placement: Any


def train_in_cluster(
    config: Config, folder: JobFolder, local: bool, stop: StopRequest
) -> float | None:
    """Attempt after attempt, until one ends well or another could not.

    local: whether the Ray cluster is this machine's.
    """
    from unet3d.cluster.worker_group import WorkerLost

    failures: list[Failure] = []
    before: WorkerResources | None = None
    ray_lost = False
    while not failures or _worth_another(config, failures):
        try:
            if ray_lost:
                start_ray_again()
                ray_lost = False
            reserved = _reserve(config, local, len(failures), before)
            before = reserved.resources
            return _attempt(config, folder, local, stop, reserved, restarts=len(failures))
        except RunStopped:
            raise
        except FINAL_ERRORS as error:
            _close_run(config, folder, "FAILED", str(error))
            raise
        except WorkerLost as lost:
            failure = lost.failure
            epochs = _epochs_done(config, folder)
            failures.append(Failure(failure.reason, epochs, lost.steps, failure.node_lost))
            output = "" if lost.rank is None else shown(folder.stderr(lost.rank))
            if output:
                log.warning("parallel: worker %s wrote last:%s", lost.rank, output)
            if failure.final:
                reason = f"{failure.reason}{_advice(config, folder)}"
                _close_run(config, folder, "FAILED", reason)
                raise RunError(reason) from lost
        except RayLost as lost:
            if not local:
                _end_without_head(config, folder, str(lost), stop)
            failures.append(Failure(str(lost), _epochs_done(config, folder)))
            ray_lost = True
        if stop.asked:
            what = "Ray was lost" if ray_lost else f"a worker was lost ({failures[-1].reason})"
            message = f"stopped; {what} meanwhile{_advice(config, folder)}"
            _close_run(config, folder, "KILLED", message)
            raise RunStopped(message, stop.exit_code)
    reason = (
        f"parallel: workers were lost {len(failures)} times, the last time for this reason: "
        f"{failures[-1].reason}{_advice(config, folder)}"
    )
    _close_run(config, folder, "FAILED", reason)
    raise RunError(reason)


def train_grown(
    config: Config,
    folder: JobFolder,
    local: bool,
    stop: StopRequest,
    resources: WorkerResources,
    restarts: int,
) -> float | None:
    """One attempt of a sweep's trial over `config.nodes` workers with `resources` each.

    Raises WorkerLost where a worker is lost: the sweep then knows what devices there are.
    """
    placement = reserve_workers(config, resources, config.nodes)
    reserved = Reservation(config.nodes, resources, placement)
    return _attempt(config, folder, local, stop, reserved, restarts)


def _worth_another(config: Config, failures: list[Failure]) -> bool:
    """Whether to start again: not endlessly, nor for a reason that comes before any step.

    Only failures since the last finished epoch count, and nodes that were lost count apart.
    """
    last = failures[-1]
    recent = [one for one in failures if one.epochs == last.epochs]
    own = [one for one in recent if not one.node_lost]
    if len(own) > config.parallel.max_failures or len(recent) - len(own) > MAX_NODES_LOST:
        return False
    if last.steps == 0 and not last.node_lost and last in recent[:-1]:
        return False
    log.warning(
        "parallel: a worker was lost (%s); all start again from the last checkpoint, "
        "restart %d of at most %d",
        last.reason,
        len(own),
        config.parallel.max_failures,
    )
    return True


def _attempt(
    config: Config,
    folder: JobFolder,
    local: bool,
    stop: StopRequest,
    reserved: Reservation,
    restarts: int,
) -> float | None:
    """Train on what is reserved for the workers."""
    from ray.util import remove_placement_group
    from ray.util.scheduling_strategies import PlacementGroupSchedulingStrategy

    from unet3d.cluster.worker_group import train_worker_group

    workers, resources, placement = reserved.workers, reserved.resources, reserved.placement
    if not local:
        try:
            check_versions([PlacementGroupSchedulingStrategy(placement, n) for n in range(workers)])
        except RunError:
            remove_placement_group(placement)
            raise
    if workers < config.nodes:
        log.warning("parallel: continuing with %d of %d workers", workers, config.nodes)
    environment = worker_environment(config.parallel.interface)
    job = TrainJob(
        config, folder, Path.cwd(), environment, resources.threads, restarts, resources.gpus
    )
    try:
        return train_worker_group(job, workers, resources, placement, stop)
    finally:
        if ray_lives():
            remove_placement_group(placement)


def _reserve(
    config: Config, local: bool, restarts: int, before: WorkerResources | None
) -> Reservation:
    """What Ray has reserved, before: of the attempt before.

    It takes Ray a while to notice that a node is gone: a restart tries until it has.
    """
    deadline = time.monotonic() + (NOTICE_SECONDS if restarts else 0)
    while True:
        try:
            workers = _workers_left(config, local, before) if restarts else config.nodes
            resources = choose_resources(config, local, workers, before)
            return Reservation(workers, resources, reserve_workers(config, resources, workers))
        except RunError:
            if time.monotonic() > deadline:
                raise
        time.sleep(1)


def _end_without_head(config: Config, folder: JobFolder, lost: str, stop: StopRequest) -> NoReturn:
    """The cluster's head is gone, while the workers train on for a while: have them save."""
    folder.ask_to_stop(stop.signal or signal.SIGTERM)
    deadline = time.monotonic() + HEAD_SAVE_SECONDS
    saved = False
    while not saved and time.monotonic() < deadline:
        time.sleep(0.5)
        try:
            folder.raise_error(1)
        except (RunStopped, *FINAL_ERRORS):
            saved = True
    message = f"parallel.address: {lost}{_advice(config, folder)}"
    if not saved:
        _close_run(config, folder, "FAILED", message)
    raise RunStopped(message, stop.exit_code if stop.asked else 1)


def _workers_left(config: Config, local: bool, before: WorkerResources | None) -> int:
    """Workers of the next attempt: all, or with parallel.elastic as many as the nodes can take."""
    if local or not config.parallel.elastic:
        return config.nodes
    nodes = len(serving(alive_nodes(), *required(config, before)))
    fits = [n for n in range(1, min(nodes, config.nodes) + 1) if config.batch_size % n == 0]
    if not fits:
        raise RunError(
            "parallel: no node of the cluster is left that fits; start some, then resume"
        )
    return fits[-1]


def _epochs_done(config: Config, folder: JobFolder) -> int:
    from unet3d.training.checkpoint import read_progress

    run_id = folder.run_id()
    try:
        return len(read_progress(run_folder(config.output_dir, run_id)).history) if run_id else 0
    except RunError:  # none yet, or one that the next attempt will say is damaged
        return 0


def _advice(config: Config, folder: JobFolder) -> str:
    run_id = folder.run_id()
    return f"; go on with: {resume_command(run_id, config.output_dir)}" if run_id else ""


def _close_run(config: Config, folder: JobFolder, status: str, reason: str) -> None:
    """Record how the run ended where its chief could not."""
    from unet3d.tracking.run import end_run

    run_id = folder.run_id()
    state = run_folder(config.output_dir, run_id).state if run_id else None
    if state is not None and not end_for(state, status, reason, patience=CLOSE_SECONDS):
        log.warning("run %s is still held by a process that does not end", run_id)
        return
    if run_id and config.tracking.name != "none":
        end_run(replace(config, resume=run_id), status, reason)
