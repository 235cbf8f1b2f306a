"""The record of a sweep: one parent run, under which MLflow shows the trials."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path

from unet3d.config.schema import Config
from unet3d.errors import RunError
from unet3d.run_folder import run_folder
from unet3d.tracking.connection import Connection, connect, short, tracking_uri
from unet3d.tracking.facts import end_facts, parent_tag, run_tags
from unet3d.tracking.failures import may_pass
from unet3d.tracking.keys import mlflow_key
from unet3d.tracking.record import log_params, reopen

log = logging.getLogger(__name__)


class SweepRecord:
    """The parent run of a sweep or a study, new or left by an earlier command."""

    def __init__(
        self,
        connection: Connection,
        name: str,
        tags: dict[str, str],
        run_id: str | None,
        setting: str = "sweep.name",
    ):
        self.client, self.experiment = connection.client, connection.experiment
        if run_id:
            try:
                self.client.get_run(run_id)
            except Exception as error:
                raise RunError(
                    f"{setting}: {name} is recorded in another tracking store than "
                    f"{connection.uri}; set tracking.uri to that one, or choose another {setting}"
                ) from error
            reopen(self.client, run_id)
        else:
            tags = {**run_tags("sweep.py"), **tags}
            run = self.client.create_run(self.experiment, run_name=name, tags=tags)
            run_id = run.info.run_id
        self.run_id: str = run_id

    def close(self, status: str, tags: dict[str, str], metrics: dict[str, float]) -> None:
        """End the parent run with its results; one that the store refuses holds up no other."""
        calls = [partial(self.client.set_tag, self.run_id, *item) for item in tags.items()]
        calls += [partial(self.client.log_metric, self.run_id, *item) for item in metrics.items()]
        for call in calls:
            try:
                call()
            except Exception as error:
                if may_pass(error):
                    raise
                log.warning("tracking: not recorded (%s)", short(error))
        self.client.set_terminated(self.run_id, status)

    def open_group(self, name: str, settings: Mapping[str, str], run_id: str | None) -> str:
        """A run below the sweep's, for others to lie under; returns its id.

        settings: its params. run_id: of an earlier command, opened again where the store has it.
        """
        if run_id is not None:
            try:
                reopen(self.client, run_id)
                return run_id
            except Exception as error:
                if may_pass(error):
                    raise
        tags = {**run_tags("sweep.py"), **parent_tag(self.run_id), "sweep.configuration": name}
        run = self.client.create_run(self.experiment, run_name=name, tags=tags)
        for key, value in settings.items():
            self.client.log_param(run.info.run_id, mlflow_key(key), value)
        return str(run.info.run_id)

    def close_group(
        self, run_id: str, metrics: Mapping[str, float], tags: Mapping[str, str]
    ) -> None:
        """End such a run with its results."""
        for tag, text in tags.items():
            self.client.set_tag(run_id, tag, text)
        for metric, value in metrics.items():
            self.client.log_metric(run_id, metric, value)
        self.client.set_terminated(run_id, "FINISHED")

    def log_folder(self, folder: Path) -> None:
        """Copy a folder, under its own name, to the artifacts of the parent run."""
        self.client.log_artifacts(self.run_id, str(folder), folder.name)

    def log_files(self, paths: Sequence[Path]) -> None:
        """Copy files to the artifacts of the parent run."""
        for path in paths:
            self.client.log_artifact(self.run_id, str(path))

    def log_curve(self, name: str, points: Mapping[int, float]) -> None:
        """A metric with a value at each step; those that are there already are left out."""
        before = {one.step: one.value for one in self.client.get_metric_history(self.run_id, name)}
        for step, value in points.items():
            if before.get(step) != value:
                self.client.log_metric(self.run_id, name, value, step=step)

    def fail(self, config: Config, run_id: str | None, reason: str) -> str:
        """Record a trial as FAILED, even one lost before it had a run; returns the run's id."""
        if run_id is None:
            tracking = config.tracking
            own = {mlflow_key(key): value for key, value in tracking.tags.items()}
            run = self.client.create_run(
                self.experiment,
                run_name=tracking.run_name,
                tags={**run_tags(), **parent_tag(tracking.parent or self.run_id), **own},
            )
            run_id = str(run.info.run_id)
            log_params(self.client, run_id, config)
        end_facts(run_folder(config.output_dir, run_id), "FAILED", reason[-5000:])
        self.client.set_tag(run_id, "unet3d.reason", reason[-5000:])
        self.client.set_terminated(run_id, "FAILED")
        return run_id


def open_sweep(
    config: Config,
    name: str,
    tags: dict[str, str],
    run_id: str | None,
    setting: str = "sweep.name",
) -> SweepRecord | None:
    """Connect to the tracking store and open the parent run; None with tracking=none.

    It lies below `tracking.parent`, where that is set. setting: that names it, for errors. Raises
    RunError where the store does not answer or does not know the run.
    """
    connection = connect(config)
    tags = {**parent_tag(config.tracking.parent), **tags}
    return SweepRecord(connection, name, tags, run_id, setting) if connection else None


def log_report(config: Config, run_id: str, folder: Path) -> None:
    """Copy a folder to the artifacts of a sweep's parent run, which may have ended.

    Does nothing with tracking=none. Raises RunError where the store does not answer,
    MlflowException where it does not know the run.
    """
    connection = connect(config)
    if connection:
        connection.client.log_artifacts(run_id, str(folder), folder.name)


def check_shared(config: Config, machines: int) -> None:
    """Raise RunError where several machines would log to a database that is a file on one."""
    uri = tracking_uri(config)
    if machines > 1 and config.tracking.name == "mlflow" and uri.startswith("sqlite:"):
        raise RunError(
            f"tracking.uri: {uri} is a file, to which the cluster's {machines} machines cannot log "
            "at once; type tracking=server, or tracking.uri=http://<server>"
        )
