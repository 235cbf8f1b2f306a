"""The record of a sweep: one parent run, under which MLflow shows the trials."""

from __future__ import annotations

import logging
from pathlib import Path

from unet3d.config import Config, as_dict, flatten
from unet3d.tracking.run import parent_tag, run_tags
from unet3d.tracking.store import Connection, connect, tracking_uri
from unet3d.training.errors import RunError

log = logging.getLogger(__name__)


class SweepRecord:
    """The parent run of a sweep, new or as an earlier command left it."""

    def __init__(self, connection: Connection, name: str, tags: dict[str, str], run_id: str | None):
        self.client, self.experiment = connection.client, connection.experiment
        if run_id:
            try:
                self.client.get_run(run_id)
            except Exception as error:
                raise RunError(
                    f"sweep.name: {name} is recorded in another tracking store than "
                    f"{connection.uri}; name that one, or choose another sweep.name"
                ) from error
            self.client.update_run(run_id, status="RUNNING")
        else:
            tags = {**run_tags("sweep.py"), **tags}
            run = self.client.create_run(self.experiment, run_name=name, tags=tags)
            run_id = run.info.run_id
        self.run_id: str = run_id

    def close(self, status: str, tags: dict[str, str], metrics: dict[str, float]) -> None:
        """End the parent run with what came out."""
        for key, value in tags.items():
            self.client.set_tag(self.run_id, key, value)
        for key, number in metrics.items():
            self.client.log_metric(self.run_id, key, number)
        self.client.set_terminated(self.run_id, status)

    def log_folder(self, folder: Path) -> None:
        """Copy a folder's files to the parent's artifacts, under its name."""
        self.client.log_artifacts(self.run_id, str(folder), folder.name)

    def fail(self, config: Config, run_id: str | None, reason: str) -> str:
        """Record a trial as FAILED, also one that was lost before it had a run; returns its id."""
        if run_id is None:
            tracking = config.tracking
            run = self.client.create_run(
                self.experiment,
                run_name=tracking.run_name,
                tags={**run_tags(), **parent_tag(self.run_id), **tracking.tags},
            )
            run_id = str(run.info.run_id)
            for key, value in flatten(as_dict(config)).items():
                if not key.startswith("tracking."):
                    self.client.log_param(run_id, key, str(value))
        self.client.set_tag(run_id, "unet3d.reason", reason[-5000:])
        self.client.set_terminated(run_id, "FAILED")
        return run_id


def open_sweep(
    config: Config, name: str, tags: dict[str, str], run_id: str | None
) -> SweepRecord | None:
    """Reach the tracking store and open the parent run; None with tracking=none.

    Raises RunError where the store does not answer, or does not know the sweep's run.
    """
    connection = connect(config)
    return SweepRecord(connection, name, tags, run_id) if connection else None


def log_report(config: Config, run_id: str, folder: Path) -> None:
    """Copy a folder to the artifacts of a sweep's parent run, which may be over; tracking=none: no.

    Raises RunError where the store does not answer, MlflowException where it lacks the run.
    """
    connection = connect(config)
    if connection:
        connection.client.log_artifacts(run_id, str(folder), folder.name)


def check_shared(config: Config, machines: int) -> None:
    """RunError for a data base that is a file on one machine, where several will log."""
    uri = tracking_uri(config)
    if machines > 1 and config.tracking.name == "mlflow" and uri.startswith("sqlite:"):
        raise RunError(
            f"tracking.uri: {uri} is a file, to which the cluster's {machines} machines cannot log "
            "at once; type tracking=server, or tracking.uri=http://<server>"
        )
