"""Data parallelism over nodes: a Ray Train job of workers that run the one loop together."""

from __future__ import annotations

import logging
import os
import threading
import time
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, cast

from unet3d.config import Config
from unet3d.data.atomic import write_text
from unet3d.log import log_to_console
from unet3d.parallel.cluster import Offer, fitting_nodes, offer, ray_cluster
from unet3d.parallel.follow import follow, job_folder
from unet3d.parallel.place import read_word
from unet3d.parallel.worker import FINAL, Job, raise_told, work
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
    losses: list[Loss] = []
    while not losses or _worth_another(config, losses):
        try:
            return _attempt(config, overrides, folder, local, stop, restarts=len(losses))
        except RunStopped:
            raise
        except FINAL as error:
            _close_run(config, folder, "FAILED", str(error))
            raise
        except Exception as error:
            losses.append(Loss(_first_line(error), _epochs_done(config, folder)))
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
    workers, chosen = _places(config, local, restarts)
    if workers < config.nodes:
        log.warning("parallel: going on with %d of %d workers", workers, config.nodes)
    environment = {k: v for k, v in os.environ.items() if k.startswith(("MLFLOW_", "TF_CPP"))}
    job = Job(config, overrides, folder, Path.cwd(), environment, chosen.threads, restarts)
    return _train_job(job, workers, chosen, stop)


def _places(config: Config, local: bool, restarts: int) -> tuple[int, Offer]:
    """How many workers, and what each gets.

    Ray believes for a while in a node that is gone: a restart tries until it has noticed.
    """
    deadline = time.monotonic() + (NOTICE_SECONDS if restarts else 0)
    while True:
        try:
            workers = _workers_left(config, local) if restarts else config.nodes
            return workers, offer(config, local, workers)
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


def _train_job(job: Job, workers: int, chosen: Offer, stop: StopRequest) -> float | None:
    """One Ray Train job from start to end."""
    from ray.train import FailureConfig, RunConfig, ScalingConfig
    from ray.train.v2.api.data_parallel_trainer import DataParallelTrainer

    from unet3d.parallel.backend import TfConfig

    trainer = DataParallelTrainer(
        cast(Any, work),  # its type says that nothing is returned; Result.return_value tells it
        train_loop_config={"job": job},
        backend_config=TfConfig(),
        scaling_config=ScalingConfig(
            num_workers=workers,
            use_gpu=chosen.gpus > 0,
            resources_per_worker=chosen.resources,
            placement_strategy=chosen.strategy,
        ),
        run_config=RunConfig(
            name=f"attempt{job.restarts}",
            storage_path=str(job.folder.resolve() / "ray"),
            failure_config=FailureConfig(max_failures=0),
        ),
    )
    ended: list[Any] = []

    def fit() -> None:
        try:
            ended.append(trainer.fit())
        except BaseException as error:
            ended.append(error)

    # In a thread: in the main one Ray would answer Ctrl-C by killing the workers.
    thread = threading.Thread(target=fit, name="ray-train", daemon=True)
    thread.start()
    while thread.is_alive():
        thread.join(0.2)
        if stop.signal is not None and not (job.folder / "stop").exists():
            log.info("stopping: the workers save after their step; Ctrl-C again stops at once")
            write_text(job.folder / "stop", str(stop.signal))
    raise_told(job.folder, stop)
    (result,) = ended
    if isinstance(result, BaseException):
        raise _cause(result)
    return result.return_value


def _cause(error: BaseException) -> BaseException:
    """An error that a worker raised for good, where Ray tells of one; else what Ray tells."""
    for failure in (getattr(error, "worker_failures", None) or {}).values():
        for link in (failure, getattr(failure, "_base_exc", None), failure.__cause__):
            if isinstance(link, FINAL):
                return link
    return error


def _first_line(error: Exception) -> str:
    """What ended a worker, from the last line of what Ray tells at length."""
    failures = getattr(error, "worker_failures", None) or {}
    causes = [failures[rank] for rank in sorted(failures)] or [error]
    lines = [line.strip() for line in str(causes[0]).splitlines() if line.strip()]
    return (lines[-1] if lines else type(causes[0]).__name__)[:200]


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
