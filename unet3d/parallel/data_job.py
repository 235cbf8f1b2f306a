"""Data parallelism over nodes: a Ray Train job of workers that run the one loop together."""

from __future__ import annotations

import json
import logging
import os
import shutil
import threading
import time
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, cast

from unet3d.config import Config, ConfigError
from unet3d.data.atomic import write_text
from unet3d.data.errors import DataError
from unet3d.log import log_to_console
from unet3d.parallel.cluster import Offer, fitting_nodes, offer, ray_cluster
from unet3d.parallel.place import Place, read_word
from unet3d.training.errors import RunError, RunStopped
from unet3d.training.stop import StopRequest, stop_requests

log = logging.getLogger(__name__)
NOTICE_SECONDS = 120.0
FINAL = (ConfigError, DataError, RunError)  # errors that come again however often it is tried


@dataclass(frozen=True)
class Job:
    """What each worker is sent."""

    config: Config
    overrides: list[str]
    folder: Path  # seen by all workers, see Place.job
    here: Path  # working folder, which relative paths start from
    environment: dict[str, str]
    threads: int
    restarts: int


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
        with job_folder(config) as folder, ray_cluster(config) as local, follow(config, folder):
            stop.deferred = True
            return _attempts(config, overrides, folder, local, stop)


def _attempts(
    config: Config, overrides: list[str], folder: Path, local: bool, stop: StopRequest
) -> float | None:
    reason = ""
    for restarts in range(config.parallel.max_failures + 1):
        workers, chosen = _places(config, local, restarts)
        environment = {k: v for k, v in os.environ.items() if k.startswith(("MLFLOW_", "TF_CPP"))}
        job = Job(config, overrides, folder, Path.cwd(), environment, chosen.threads, restarts)
        try:
            return _attempt(job, workers, chosen, stop)
        except RunStopped:
            raise
        except FINAL as error:
            _close_run(config, folder, str(error))
            raise
        except Exception as error:
            before, reason = reason, _first_line(error)
            left = config.parallel.max_failures - restarts
            if reason == before:
                break  # it would end like this each time
            if left and stop.signal is None:
                log.warning(
                    "parallel: a worker was lost (%s); all start again from the last checkpoint, "
                    "for the %d. of at most %d times",
                    reason,
                    restarts + 1,
                    config.parallel.max_failures,
                )
    _close_run(config, folder, reason)
    run_id = read_word(folder / "run_id")
    advice = f"; go on with: python train.py resume={run_id}" if run_id else ""
    raise RunError(
        f"parallel: workers were lost {restarts + 1} times, the last time for this reason: "
        f"{reason}{advice}"
    )


def _places(config: Config, local: bool, restarts: int) -> tuple[int, Offer]:
    """How many workers, and what each gets.

    Ray believes for a while in a node that is gone: a restart tries until it has noticed.
    """
    deadline = time.monotonic() + (NOTICE_SECONDS if restarts else 0)
    while True:
        workers = _workers_left(config, local) if restarts else config.nodes
        try:
            return workers, offer(config, local, workers)
        except RunError:
            if time.monotonic() > deadline:
                raise


def _workers_left(config: Config, local: bool) -> int:
    """Workers of the next attempt: all, or with parallel.elastic what the nodes left can take."""
    if local or not config.parallel.elastic:
        return config.nodes
    nodes = len(fitting_nodes(config))
    fits = [n for n in range(1, min(nodes, config.nodes) + 1) if config.batch_size % n == 0]
    if not fits:
        raise RunError("parallel: the cluster has no node left that fits; start some, and resume")
    if fits[-1] < config.nodes:
        log.warning("parallel: going on with %d of %d workers", fits[-1], config.nodes)
    return fits[-1]


def _attempt(job: Job, workers: int, chosen: Offer, stop: StopRequest) -> float | None:
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
    _raise_told(job.folder, stop)
    (result,) = ended
    if isinstance(result, BaseException):
        raise result
    return result.return_value


def work(settings: dict[str, Any]) -> float | None:
    """What each worker runs: the training of a run alone, in its place among the others."""
    from ray import train

    from unet3d.training.job import run_training

    job: Job = settings["job"]
    os.environ.update(job.environment)
    context = train.get_context()
    if not job.here.is_dir() or not (job.here / job.folder).is_dir():
        raise RuntimeError(
            f"output_dir: {job.config.output_dir} is not shared with node {os.uname().nodename}"
        )
    os.chdir(job.here)
    addresses = json.loads(os.environ["TF_CONFIG"])["cluster"]["worker"]
    place = Place(
        rank=context.get_world_rank(),
        workers=context.get_world_size(),
        hosts=tuple(address.rpartition(":")[0] for address in addresses),
        threads=job.threads,
        restarts=job.restarts,
        job=job.folder,
    )
    config = job.config
    if config.data.workers is None:
        config = replace(config, data=replace(config.data, workers=job.threads))
    run_id = read_word(job.folder / "run_id")
    if job.restarts and run_id:
        config = replace(config, resume=run_id)
    try:
        return run_training(config, job.overrides, place)
    except RunStopped as stopped:
        _tell(job.folder, stopped)
        return None
    except FINAL as error:
        _tell(job.folder, error)
        raise


def _tell(folder: Path, error: Exception) -> None:
    """Leave word of an error that the user can mend for the process that started the workers."""
    write_text(folder / "error", json.dumps([type(error).__name__, str(error)]))


def _raise_told(folder: Path, stop: StopRequest) -> None:
    word = read_word(folder / "error")
    if word is None:
        return
    kind, message = json.loads(word)
    if kind == "RunStopped":
        raise RunStopped(message, stop.exit_code)
    raise next((known for known in FINAL if known.__name__ == kind), RunError)(message)


def _first_line(error: Exception) -> str:
    """What ended a worker, from the last line of what Ray tells at length."""
    failures = getattr(error, "worker_failures", None) or {}
    causes = [failures[rank] for rank in sorted(failures)] or [error]
    lines = [line.strip() for line in str(causes[0]).splitlines() if line.strip()]
    return (lines[-1] if lines else type(causes[0]).__name__)[:200]


def _close_run(config: Config, folder: Path, reason: str) -> None:
    """Record the run as FAILED where its chief could not."""
    from unet3d.tracking import end_run

    run_id = read_word(folder / "run_id")
    if run_id and config.tracking.name != "none":
        end_run(replace(config, resume=run_id), "FAILED", reason)


@contextmanager
def job_folder(config: Config) -> Iterator[Path]:
    """A folder under output_dir for the words that workers leave each other; gone at the end."""
    folder = Path(config.output_dir) / ".jobs" / uuid.uuid4().hex
    folder.mkdir(parents=True)
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


@contextmanager
def follow(config: Config, folder: Path) -> Iterator[None]:
    """Print what the chief writes to the run's train.log, as a run alone would."""
    from unet3d.tracking import run_folder

    over = threading.Event()

    def tail() -> None:
        path, position = None, 0
        while True:
            last = over.is_set()
            run_id = read_word(folder / "run_id") if path is None else None
            if run_id:
                path = run_folder(config, run_id) / "train.log"
                position = path.stat().st_size if config.resume and path.exists() else 0
            if path and path.exists():
                with path.open() as file:
                    file.seek(position)
                    for line in file:
                        _date, clock, _level, message = [*line.rstrip("\n").split(" ", 3), "", ""][
                            :4
                        ]
                        print(clock[:8], message, flush=True)
                    position = file.tell()
            if last:
                return
            time.sleep(0.2)

    thread = threading.Thread(target=tail, name="follow", daemon=True)
    thread.start()
    try:
        yield
    finally:
        over.set()
        thread.join(5)
