"""The tracking store: its address, and a client whose store has answered."""

from __future__ import annotations

import logging
import os
import re
import shlex
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

from unet3d.config.schema import Config
from unet3d.errors import RunError
from unet3d.tracking.artifacts import find_served_artifacts
from unet3d.tracking.database import held_store, sqlite_file
from unet3d.tracking.failures import is_missing
from unet3d.tracking.pages import EXPERIMENT_TAGS

log = logging.getLogger(__name__)
T = TypeVar("T")
# File systems of several machines.
NETWORK_DISKS = ("nfs", "lustre", "gpfs", "beegfs", "cifs", "smb", "ceph", "fuse.", "9p", "afs")
RUN_TAG = "unet3d.run"  # of a run that was recorded again: the name of its folder


def tracking_uri(config: Config) -> str:
    """MLFLOW_TRACKING_URI where it is set, else tracking.uri."""
    return os.environ.get("MLFLOW_TRACKING_URI") or config.tracking.uri


@dataclass(frozen=True)
class Connection:
    """An MLflow client whose store has answered, and the id of the experiment.

    run: the id in the store of run `config.resume`; None without one, or where the store lost it.
    """

    client: Any
    experiment: str
    uri: str
    run: str | None = None


def connect(config: Config, lost_run_ok: bool = False) -> Connection | None:
    """Reach the tracking store and, on resume, its run; None with tracking=none.

    lost_run_ok: whether the caller can record `config.resume` where the store does not know it.
    Raises RunError where the store does not answer, does not know the run, or where the
    experiment is deleted.
    """
    if config.tracking.name == "none":
        return None
    uri = tracking_uri(config)
    quiet_mlflow()
    try:
        client, experiment = open_experiment(config)
        run = find_run(client, config.resume) if config.resume else None
        if run is not None:
            experiment = run.info.experiment_id
            _check_active(client.get_experiment(experiment), uri)
    except RunError:
        raise
    except Exception as error:
        raise RunError(
            f"tracking: {uri} cannot be used ({short(error)}); start the server, set "
            "tracking.uri or MLFLOW_TRACKING_URI, or type tracking=none"
        ) from error
    if config.resume and run is None and not lost_run_ok:
        raise RunError(
            f"tracking: {uri} does not know run {config.resume}; set tracking.uri or "
            f"MLFLOW_TRACKING_URI, or record it there: unet3d record run={config.resume}"
        )
    return Connection(client, experiment, uri, run.info.run_id if run else None)


def warn_of_shared_file(config: Config) -> None:
    """Warn where workers on several nodes would lock a SQLite file through a network disk."""
    path = sqlite_file(tracking_uri(config)) if config.tracking.name == "mlflow" else None
    if path is None or (config.parallel.address is None and "RAY_ADDRESS" not in os.environ):
        return
    kind = disk_kind(path)
    if kind.startswith(NETWORK_DISKS):
        log.warning(
            "tracking.uri: %s is on a network disk (%s), where the locks of SQLite may fail; with "
            "nodes=%d type tracking=server, or tracking.uri=http://<server>",
            path,
            kind,
            config.nodes,
        )


def disk_kind(path: Path) -> str:
    """The type of the file system that a path is on, or will be, in the kernel's words."""
    import psutil

    path = path.absolute()
    mounts = {part.mountpoint: part.fstype for part in psutil.disk_partitions(all=True)}
    return next((mounts[str(p)] for p in (path, *path.parents) if str(p) in mounts), "")


def find_run(client: Any, run_id: str) -> Any:
    """The run in the store, deleted or not; None where it has none.

    A run that was recorded again has another id in the store, and its own as a tag.
    """
    from mlflow.entities import ViewType

    try:
        return client.get_run(run_id)
    except Exception as error:
        if not is_missing(error):
            raise
    if not re.fullmatch(r"[\w-]+", run_id):
        return None
    experiments = client.search_experiments(view_type=ViewType.ALL)
    chosen = [experiment.experiment_id for experiment in experiments]
    return next(
        iter(client.search_runs(chosen, f"tags.`{RUN_TAG}` = '{run_id}'", ViewType.ALL)), None
    )


def quiet_mlflow() -> None:
    """Set MLflow's environment variables, except those already set; call before importing it."""
    os.environ.setdefault("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "2")
    os.environ.setdefault("MLFLOW_HTTP_REQUEST_TIMEOUT", "20")
    os.environ.setdefault("MLFLOW_LOGGING_LEVEL", "WARNING")  # read when mlflow is imported
    os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")
    os.environ.setdefault("MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT", "true")
    os.environ.setdefault("MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR", "false")
    # It logs a traceback for each error of a database, which is raised as well.
    logging.getLogger("mlflow.store.db.utils").setLevel(logging.CRITICAL)


def short(error: BaseException) -> str:
    """The first line of an error, or of its cause where that line is long."""
    line = str(error).split("\n")[0]
    while len(line) > 120 and (error.__cause__ or error.__context__):
        error = error.__cause__ or error.__context__  # type: ignore[assignment]
        line = str(error).split("\n")[0]
    return line[:200]


def record_or_warn(action: Callable[..., T], *values: Any) -> T | None:
    """The value of `action(*values)`, or None after a warning where the store does not take it.

    For records at the end of long work, which must not be lost because the store is away.
    """
    try:
        return action(*values)
    except Exception as error:
        log.warning("tracking: not recorded (%s)", short(error))
        return None


def open_experiment(config: Config) -> tuple[Any, str]:
    """The MLflow client and the id of the experiment; safe when many processes start at once."""
    from mlflow import MlflowClient
    from mlflow.exceptions import MlflowException

    logging.getLogger("alembic").setLevel(logging.WARNING)
    logging.getLogger("mlflow").setLevel(logging.WARNING)
    uri, name = tracking_uri(config), config.tracking.experiment
    local = not uri.startswith("http")  # a database; a server stores the artifacts itself
    artifacts = (Path(config.tracking.artifacts).resolve() / name).as_uri() if local else None
    if sqlite_file(uri) is not None:
        find_served_artifacts(uri, Path(config.tracking.artifacts))
    with held_store(uri, Path(config.output_dir)):
        client = MlflowClient(uri)
        experiment = client.get_experiment_by_name(name)
        if experiment is None:
            try:
                return client, client.create_experiment(name, artifacts, tags=dict(EXPERIMENT_TAGS))
            except MlflowException as error:
                experiment = client.get_experiment_by_name(name)
                if experiment is None:  # no other process has made it meanwhile
                    raise error
        _check_active(experiment, uri)
        return client, experiment.experiment_id


def _check_active(experiment: Any, uri: str) -> None:
    """Raise RunError for an experiment that was deleted."""
    if experiment.lifecycle_stage == "deleted":
        number = experiment.experiment_id
        raise RunError(
            f"tracking.experiment: {experiment.name} is deleted in {uri}; choose another name, or "
            f"restore it: MLFLOW_TRACKING_URI={shlex.quote(uri)} mlflow experiments restore "
            f"--experiment-id {number}"
        )
