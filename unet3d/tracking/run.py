"""The record of one run: its folder, and what a thread sends to the tracking store."""

from __future__ import annotations

import logging
import uuid
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

from unet3d.config.schema import Config, as_dict
from unet3d.errors import RunError
from unet3d.run_folder import RunFolder, run_folder
from unet3d.tracking.connection import Connection, connect, short
from unet3d.tracking.facts import RunFacts, end_facts, new_facts, now, read_facts, write_facts
from unet3d.tracking.outbox import Outbox
from unet3d.tracking.provenance import keep_provenance
from unet3d.tracking.record import create_again, log_dataset, log_metrics, log_params, reopen
from unet3d.tracking.tracker import NoTracker, Tracker

log = logging.getLogger(__name__)
GIVE_UP_SECONDS = 600.0  # after the end of training
STOPPED_SECONDS = 20.0  # after a signal, which another one that cannot be caught may follow


def start_run(config: Config, connection: Connection | None) -> tuple[Tracker, RunFolder]:
    """Open the run, which is new or `config.resume`, and its folder.

    Raises RunError where the store does not take a new run.
    """
    known = read_facts(run_folder(config.output_dir, config.resume)) if config.resume else None
    facts = known if known and known.tags else new_facts(config)
    tracker: Tracker
    if connection is None:
        run_id, tracker = config.resume or uuid.uuid4().hex, NoTracker()
    else:
        tracker = MlflowTracker(config, connection, facts)
        run_id = tracker.run_id
    folder = run_folder(config.output_dir, run_id)
    folder.checkpoints.mkdir(parents=True, exist_ok=True)
    if config.tracking.tensorboard:
        from unet3d.tracking.tensorboard import TensorBoardTracker

        tracker = TensorBoardTracker(tracker, folder.tensorboard)
    tracker = FolderTracker(tracker, folder, facts)
    if not folder.config.exists():
        from omegaconf import OmegaConf

        from unet3d.files import write_text

        write_text(folder.config, OmegaConf.to_yaml(OmegaConf.create(as_dict(config))))
        tracker.log_artifact(folder.config, "config")
        keep_provenance(folder)
    log.info("run %s in %s", run_id, folder.path)
    return tracker, folder


def end_run(config: Config, status: str, reason: str) -> None:
    """End run `config.resume`, whose own process could not; warns where the store is away."""
    assert config.resume is not None
    end_facts(run_folder(config.output_dir, config.resume), status, reason)
    try:
        connection = connect(config)
        if connection:
            connection.client.set_tag(connection.run, "unet3d.reason", reason[:5000])
            connection.client.set_terminated(connection.run, status)
    except Exception as error:
        log.warning("tracking: run %s could not be ended (%s)", config.resume, short(error))


class FolderTracker:
    """Keeps what `tracker` is given in the run's folder, too, for `unet3d record`."""

    def __init__(self, tracker: Tracker, folder: RunFolder, facts: RunFacts):
        self.tracker, self.folder, self.facts = tracker, folder, facts
        facts.status, facts.reason, facts.end = "RUNNING", "", None
        write_facts(folder, facts)

    def set_tags(self, tags: dict[str, str]) -> None:
        """Tag the run."""
        self.facts.tags |= tags
        write_facts(self.folder, self.facts)
        self.tracker.set_tags(tags)

    def log_dataset(self, dataset: dict[str, str]) -> None:
        """Say what the run trains on: name, digest, root and cases."""
        self.facts.dataset = dataset
        write_facts(self.folder, self.facts)
        self.tracker.log_dataset(dataset)

    def log_epoch(self, record: dict[str, Any]) -> None:
        """Pass an epoch on; the checkpoint keeps it."""
        self.tracker.log_epoch(record)

    def log_end(self, record: Callable[[], dict[str, Any]]) -> None:
        """Pass the last record on."""
        self.tracker.log_end(record)

    def log_artifact(self, path: Path, folder: str) -> None:
        """Pass a file on."""
        self.tracker.log_artifact(path, folder)

    def finish(self, status: str, reason: str = "") -> None:
        """End the run."""
        self.facts.status, self.facts.reason, self.facts.end = status, reason, now()
        write_facts(self.folder, self.facts)
        self.tracker.finish(status, reason)


class MlflowTracker:
    """Sends in order from a thread; what the store refuses for good is said and left out.

    run_id: of the run and its folder. stored_id: of the run in the store, the same except where
    the store has lost the run and got it again.
    """

    def __init__(self, config: Config, connection: Connection, facts: RunFacts | None = None):
        self.client, self.uri, self.config = connection.client, connection.uri, config
        facts = facts or new_facts(config)
        try:
            if config.resume:
                self.run_id = config.resume
                self.stored_id = connection.run or create_again(
                    connection, config, config.resume, facts
                )
            else:
                run = self.client.create_run(
                    connection.experiment, run_name=facts.name, tags=facts.tags
                )
                self.run_id = self.stored_id = run.info.run_id
                facts.name = run.info.run_name
        except Exception as error:
            raise RunError(
                f"tracking: {self.uri} does not take the run ({short(error)}); mend tracking.*, or "
                "type tracking=none"
            ) from error
        self.outbox = Outbox(
            self.uri,
            self.run_id,
            answers=lambda: self.client.get_run(self.stored_id),
            back=self._watch_system,
        )
        if connection.run:
            self.outbox.send(partial(reopen, self.client, self.stored_id))
        else:
            self.outbox.send(partial(log_params, self.client, self.stored_id, config))
            folder = run_folder(config.output_dir, self.run_id)
            if folder.config.is_file():  # the store has lost the run, and its files with it
                self.log_artifact(folder.config, "config")
        self.monitor: Any = None
        self._watch_system()

    def set_tags(self, tags: dict[str, str]) -> None:
        """Tag the run."""
        for key, value in tags.items():
            self.outbox.send(partial(self.client.set_tag, self.stored_id, key, value))

    def log_dataset(self, dataset: dict[str, str]) -> None:
        """Log the data set as an input of the run, by which MLflow's pages filter."""
        self.outbox.send(partial(log_dataset, self.client, self.stored_id, dataset))

    def log_epoch(self, record: dict[str, Any]) -> None:
        """Log an epoch's metrics; a record sent twice counts once, as it keeps its time."""
        self.outbox.send(partial(log_metrics, self.client, self.stored_id, record))

    def log_end(self, record: Callable[[], dict[str, Any]]) -> None:
        """Log the metrics that `record` returns once all before them is sent, which takes time."""
        made: list[dict[str, Any]] = []  # once, whatever the tries

        def send() -> None:
            made.extend([] if made else [record()])
            log_metrics(self.client, self.stored_id, made[0])

        self.outbox.send(send)

    def log_artifact(self, path: Path, folder: str) -> None:
        """Copy a file to the run's artifacts; folder "" is the root, which MLflow can compare."""
        # Files go to another place than metrics, which may be away on its own.
        self.outbox.send(
            partial(self.client.log_artifact, self.stored_id, str(path), folder or None), patience=1
        )

    def finish(self, status: str, reason: str = "") -> None:
        """Send what is pending, and end the run.

        Waits GIVE_UP_SECONDS at most, STOPPED_SECONDS for a run that was KILLED; a signal ends
        the wait. Then the log says how to send the rest.
        """
        self.outbox.send(self._stop_watching)
        if reason:
            self.set_tags({"unet3d.reason": reason[:5000]})
        self.outbox.send(partial(self.client.set_terminated, self.stored_id, status))
        self.outbox.close(STOPPED_SECONDS if status == "KILLED" else GIVE_UP_SECONDS)

    def _watch_system(self) -> None:
        """Start, or restart, MLflow's monitor of CPU, GPU, memory and disk."""
        if not self.config.tracking.system_metrics:
            return
        from mlflow.system_metrics.system_metrics_monitor import SystemMetricsMonitor

        try:
            self.monitor = SystemMetricsMonitor(
                self.stored_id,
                sampling_interval=self.config.tracking.system_interval,
                resume_logging=True,
                tracking_uri=self.uri,
            )
            self.monitor.start()
        except Exception as error:
            log.warning("tracking: no system metrics (%s)", error)

    def _stop_watching(self) -> None:
        if self.monitor:
            self.monitor.finish()
