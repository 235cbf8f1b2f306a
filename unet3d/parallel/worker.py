"""One worker of a data-parallel job: what it is sent, what it runs, how it tells of its end."""

from __future__ import annotations

import json
import os
from dataclasses import dataclass, replace
from pathlib import Path

from unet3d.config import Config, ConfigError
from unet3d.data.atomic import write_text
from unet3d.data.errors import DataError
from unet3d.parallel.place import Place, read_word
from unet3d.training.errors import RunError, RunStopped
from unet3d.training.stop import StopRequest

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


def work(job: Job, rank: int, addresses: list[str]) -> float | None:
    """What each worker runs: the training of a run alone, in its place among the others.

    addresses: of all workers, host:port.
    Raises RunError where this node does not see the job's folder.
    """
    from unet3d.training.job import run_training

    os.environ.update(job.environment)
    if not job.here.is_dir() or not (job.here / job.folder).is_dir():
        raise RunError(
            f"output_dir: {job.here / job.config.output_dir} is not seen by node "
            f"{os.uname().nodename}; choose a folder that all nodes share"
        )
    os.chdir(job.here)
    os.environ["TF_CONFIG"] = json.dumps(
        {"cluster": {"worker": addresses}, "task": {"type": "worker", "index": rank}}
    )
    place = Place(
        rank=rank,
        workers=len(addresses),
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
        if place.chief:  # the others do not know why
            _tell(job.folder, stopped)
        return None
    except FINAL as error:
        _tell(job.folder, error)
        raise


def _tell(folder: Path, error: Exception) -> None:
    """Leave word of an error that the user can mend for the process that started the workers."""
    write_text(folder / "error", json.dumps([type(error).__name__, str(error)]))


def raise_told(folder: Path, stop: StopRequest) -> None:
    """In the process that started the workers: raise what one of them told, if any."""
    word = read_word(folder / "error")
    if word is None:
        return
    kind, message = json.loads(word)
    if kind == "RunStopped":
        raise RunStopped(message, stop.exit_code)
    raise next((known for known in FINAL if known.__name__ == kind), RunError)(message)
