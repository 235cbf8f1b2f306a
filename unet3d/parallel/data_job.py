"""Data parallelism over nodes: workers on Ray that run the one loop together."""

from __future__ import annotations

import logging
import os
import time
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from unet3d.config import Config
from unet3d.log import log_to_console
from unet3d.parallel.cluster import Offer, fitting_nodes, offer, ray_cluster, reserve
from unet3d.parallel.follow import follow, job_folder
from unet3d.parallel.place import read_word
from unet3d.parallel.worker import FINAL, Job
from unet3d.training.errors import RunError, RunStopped
from unet3d.training.stop import StopRequest, stop_requests

log = logging.getLogger(__name__)
NOTICE_SECONDS = 120.0  # in which Ray finds out that a node is gone


def run_on_nodes(config: Config, overrides: list[str]) -> float | None:
    """Train over `config.nodes` workers; returns the best val/dice.

    A worker that dies or hangs has all of them started anew from the last checkpoint, in the same
    MLflow run, up to parallel.max_failures times. Raises ConfigError, DataError or RunError, and
    RunStopped after a signal.
    """
    from unet3d.training.resume import resumed_config
    from unet3d.training.setup import make_data

    log_to_console()
    if config.resume:
        config = resumed_config(config, overrides)
    with stop_requests() as stop:
        make_data(config)  # what is wrong with the data is told before Ray starts
        here = f"{config.nodes} workers here"
        with (
            job_folder(config) as folder,
            ray_cluster(config, here) as local,
            follow(config, folder),
        ):
            stop.deferred = True
            return train_in_cluster(config, overrides, folder, local, stop)


@dataclass(frozen=True)
class Loss:
    """Why an attempt ended early, and how far the run had come."""

    reason: str
    epochs: int


def train_in_cluster(
    config: Config, overrides: list[str], folder: Path, local: bool, stop: StopRequest
) -> float | None:
    """Attempt after attempt, until one ends well or no further one would.

    folder: the job's, see Place. local: whether the Ray cluster is this machine's.
    """
    from unet3d.parallel.gang import WorkerLost

    losses: list[Loss] = []
    while not losses or _worth_another(config, losses):
        try:
            return _attempt(config, overrides, folder, local, stop, restarts=len(losses))
        except RunStopped:
            raise
        except FINAL as error:
            _close_run(config, folder, "FAILED", str(error))
            raise
        except WorkerLost as error:
            losses.append(Loss(str(error), _epochs_done(config, folder)))
        if stop.asked:
            message = f"stopped; a worker was lost meanwhile{_advice(folder)}"
            _close_run(config, folder, "KILLED", message)
            raise RunStopped(message, stop.exit_code)
    reason = (
        f"parallel: workers were lost {len(losses)} times, the last time for this reason: "
        f"{losses[-1].reason}{_advice(folder)}"
    )
    _close_run(config, folder, "FAILED", reason)
    raise RunError(reason)


def _worth_another(config: Config, losses: list[Loss]) -> bool:
    """Whether to start again: not at the same point for the same reason, nor without end."""
    if len(losses) > config.parallel.max_failures or losses[-1] in losses[:-1]:
        return False
    log.warning(
        "parallel: a worker was lost (%s); all start again from the last checkpoint, "
        "restart %d of at most %d",
        losses[-1].reason,
        len(losses),
        config.parallel.max_failures,
    )
    return True


def _attempt(
    config: Config,
    overrides: list[str],
    folder: Path,
    local: bool,
    stop: StopRequest,
    restarts: int,
) -> float | None:
    """Find places for the workers, and train in them."""
    from ray.util import remove_placement_group

    from unet3d.parallel.gang import train_gang

    workers, chosen, group = _places(config, local, restarts)
    if workers < config.nodes:
        log.warning("parallel: going on with %d of %d workers", workers, config.nodes)
    environment = {k: v for k, v in os.environ.items() if k.startswith(("MLFLOW_", "TF_CPP"))}
    job = Job(config, overrides, folder, Path.cwd(), environment, chosen.threads, restarts)
    try:
        return train_gang(job, workers, chosen, group, config.parallel.hang_timeout, stop)
    finally:
        remove_placement_group(group)


def _places(config: Config, local: bool, restarts: int) -> tuple[int, Offer, Any]:
    """How many workers, what each gets, and the placement group that Ray has reserved.

    Ray believes for a while in a node that is gone: a restart tries until it has noticed.
    """
    deadline = time.monotonic() + (NOTICE_SECONDS if restarts else 0)
    while True:
        try:
            workers = _workers_left(config, local) if restarts else config.nodes
            chosen = offer(config, local, workers)
            return workers, chosen, reserve(config, chosen, workers)
        except RunError:
            if time.monotonic() > deadline:
                raise
        time.sleep(1)


def _workers_left(config: Config, local: bool) -> int:
    """Workers of the next attempt: all, or with parallel.elastic what the nodes left can take."""
    if local or not config.parallel.elastic:
        return config.nodes
    nodes = len(fitting_nodes(config))
    fits = [n for n in range(1, min(nodes, config.nodes) + 1) if config.batch_size % n == 0]
    if not fits:
        raise RunError("parallel: the cluster has no node left that fits; start some, and resume")
    return fits[-1]


def _epochs_done(config: Config, folder: Path) -> int:
    from unet3d.tracking.run import run_folder
    from unet3d.training.checkpoint import last_checkpoint, read_progress

    run_id = read_word(folder / "run_id")
    path = last_checkpoint(run_folder(config, run_id)) if run_id else None
    return len(read_progress(path).history) if path and path.exists() else 0


def _advice(folder: Path) -> str:
    run_id = read_word(folder / "run_id")
    return f"; go on with: python train.py resume={run_id}" if run_id else ""


def _close_run(config: Config, folder: Path, status: str, reason: str) -> None:
    """Record how the run ended where its chief could not."""
    from unet3d.tracking.run import end_run

    run_id = read_word(folder / "run_id")
    if run_id and config.tracking.name != "none":
        end_run(replace(config, resume=run_id), status, reason)
