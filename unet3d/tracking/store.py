"""The tracking store: where it is, and a client of it that has answered."""

from __future__ import annotations

import logging
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from unet3d.config import Config
from unet3d.training.errors import RunError

log = logging.getLogger(__name__)


def tracking_uri(config: Config) -> str:
    """MLFLOW_TRACKING_URI when set, else tracking.uri."""
    return os.environ.get("MLFLOW_TRACKING_URI") or config.tracking.uri


@dataclass(frozen=True)
class Connection:
    """An MLflow client whose store has answered, and the id of the experiment."""

    client: Any
    experiment: str
    uri: str


def connect(config: Config) -> Connection | None:
    """Reach the tracking store and, on resume, its run; None with tracking=none.

    Raises RunError where the store does not answer or does not know the run.
    """
    if config.tracking.name == "none":
        return None
    uri = tracking_uri(config)
    quiet_mlflow()
    try:
        client, experiment = open_store(config)
        if config.resume:
            client.get_run(config.resume)
    except Exception as error:
        raise RunError(
            f"tracking: {uri} cannot be used ({short(error)}); start the server, set "
            "tracking.uri or MLFLOW_TRACKING_URI, or type tracking=none"
        ) from error
    return Connection(client, experiment, uri)


def quiet_mlflow() -> None:
    """MLflow's own settings, but for those that are set; to be called before it is imported."""
    os.environ.setdefault("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "2")
    os.environ.setdefault("MLFLOW_HTTP_REQUEST_TIMEOUT", "20")
    os.environ.setdefault("MLFLOW_LOGGING_LEVEL", "WARNING")  # read when mlflow is imported
    os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")
    os.environ.setdefault("MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT", "true")
    os.environ.setdefault("MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR", "false")


def short(error: BaseException) -> str:
    """The first line of an error, or its first cause's where the line is long."""
    line = str(error).split("\n")[0]
    while len(line) > 120 and (error.__cause__ or error.__context__):
        error = error.__cause__ or error.__context__  # type: ignore[assignment]
        line = str(error).split("\n")[0]
    return line[:200]


def keep(action: Any, *values: Any) -> None:
    """Call, and turn a store that is away into a warning: no work is lost for it."""
    try:
        action(*values)
    except Exception as error:
        log.warning("tracking: not recorded (%s)", short(error))


def open_store(config: Config) -> tuple[Any, str]:
    """The MLflow client and the experiment's id; the schema is made once however many start."""
    from filelock import FileLock
    from mlflow import MlflowClient

    logging.getLogger("alembic").setLevel(logging.WARNING)
    logging.getLogger("mlflow").setLevel(logging.WARNING)
    uri = tracking_uri(config)
    output = Path(config.output_dir)
    output.mkdir(parents=True, exist_ok=True)
    with FileLock(output / ".mlflow.lock"):
        client = MlflowClient(uri)
        name = config.tracking.experiment
        experiment = client.get_experiment_by_name(name)
        if experiment is not None:
            return client, experiment.experiment_id
        local = not uri.startswith("http")  # a data base; a server places artifacts itself
        artifacts = Path(config.tracking.artifacts).resolve() / name
        return client, client.create_experiment(name, artifacts.as_uri() if local else None)
