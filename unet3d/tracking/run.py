"""The record of one run: its folder, and parameters, metrics and artifacts sent from one thread."""

from __future__ import annotations

import logging
import os
import queue
import socket
import subprocess
import threading
import time
import uuid
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any, Protocol

from unet3d.config import Config, as_dict, flatten
from unet3d.tracking.store import Connection, connect, short

log = logging.getLogger(__name__)
RETRY_SECONDS = 5.0
GIVE_UP_SECONDS = 600.0  # after the training's end


class Tracker(Protocol):
    """What a training tells of itself."""

    def set_tags(self, tags: dict[str, str]) -> None: ...
    def log_epoch(self, record: dict[str, Any]) -> None: ...
    def log_artifact(self, path: Path, folder: str) -> None: ...
    def finish(self, status: str, reason: str = "") -> None: ...


class NoTracker:
    """tracking=none: the run's folder is all there is."""

    def set_tags(self, tags: dict[str, str]) -> None:
        """Nothing to do."""

    def log_epoch(self, record: dict[str, Any]) -> None:
        """Nothing to do."""

    def log_artifact(self, path: Path, folder: str) -> None:
        """Nothing to do."""

    def finish(self, status: str, reason: str = "") -> None:
        """Nothing to do."""


def run_folder(config: Config, run_id: str) -> Path:
    """Where a run's checkpoints, config.yaml and train.log are."""
    return Path(config.output_dir) / "runs" / run_id


def start_run(config: Config, connection: Connection | None) -> tuple[Tracker, Path]:
    """Open the run, new or `config.resume`d, and its folder."""
    tracker: Tracker
    if connection is None:
        run_id, tracker = config.resume or uuid.uuid4().hex, NoTracker()
    else:
        tracker = MlflowTracker(config, connection)
        run_id = tracker.run_id
    folder = run_folder(config, run_id)
    (folder / "checkpoints").mkdir(parents=True, exist_ok=True)
    if not (folder / "config.yaml").exists():
        from omegaconf import OmegaConf

        from unet3d.data.atomic import write_text

        write_text(folder / "config.yaml", OmegaConf.to_yaml(OmegaConf.create(as_dict(config))))
        tracker.log_artifact(folder / "config.yaml", "config")
    log.info("run %s in %s", run_id, folder)
    return tracker, folder


def end_run(config: Config, status: str, reason: str) -> None:
    """Close run `config.resume`, whose own process could not; a store that is away is a warning."""
    try:
        connection = connect(config)
        if connection:
            connection.client.set_tag(config.resume, "unet3d.reason", reason[:5000])
            connection.client.set_terminated(config.resume, status)
    except Exception as error:
        log.warning("tracking: run %s could not be closed (%s)", config.resume, short(error))


class MlflowTracker:
    """Sends in order from a thread, and tries again for as long as the store is away."""

    def __init__(self, config: Config, connection: Connection):
        self.client, self.uri, self.config = connection.client, connection.uri, config
        self.pending: queue.Queue[Callable[[], Any] | None] = queue.Queue()
        if config.resume:
            self.run_id = config.resume
            self._send(partial(self.client.update_run, self.run_id, status="RUNNING"))
        else:
            run = self.client.create_run(
                connection.experiment,
                run_name=config.tracking.run_name,
                tags={**run_tags(), **parent_tag(config.tracking.parent), **config.tracking.tags},
            )
            self.run_id = run.info.run_id
            self._send(self._log_params)
        self.monitor: Any = None
        self._watch_system()
        self.thread = threading.Thread(target=self._work, name="tracking", daemon=True)
        self.thread.start()

    def set_tags(self, tags: dict[str, str]) -> None:
        """Tag the run."""
        for key, value in tags.items():
            self._send(partial(self.client.set_tag, self.run_id, key, value))

    def log_epoch(self, record: dict[str, Any]) -> None:
        """Log an epoch's metrics; the same record twice is one, as it keeps its time."""
        self._send(lambda: self._log_metrics(record))

    def log_artifact(self, path: Path, folder: str) -> None:
        """Copy a file to the run's artifacts; folder "" is their root, which MLflow compares."""
        self._send(lambda: self.client.log_artifact(self.run_id, str(path), folder or None))

    def finish(self, status: str, reason: str = "") -> None:
        """Send what is pending, for at most ten minutes, and end the run."""
        if self.monitor:
            self.monitor.finish()
        if reason:
            self.set_tags({"unet3d.reason": reason[:5000]})
        self._send(lambda: self.client.set_terminated(self.run_id, status))
        self.pending.put(None)
        self.thread.join(GIVE_UP_SECONDS)
        if self.thread.is_alive():
            log.error(
                "tracking: %s is still away; %d messages are not sent. All metrics are in the "
                "checkpoint: python train.py resume=%s sends them",
                self.uri,
                self.pending.qsize(),
                self.run_id,
            )

    def _send(self, call: Callable[[], Any]) -> None:
        self.pending.put(call)

    def _work(self) -> None:
        while (call := self.pending.get()) is not None:
            away = False
            while True:
                try:
                    call()
                    break
                except OSError as error:
                    if isinstance(error, FileNotFoundError):
                        log.error("tracking: %s", error)
                        break
                    away = self._wait(error, away)
                except Exception as error:
                    away = self._wait(error, away)
            if away:
                log.info("tracking: %s is back", self.uri)
                self._watch_system()

    def _wait(self, error: Exception, away: bool) -> bool:
        if not away:
            log.warning(
                "tracking: %s does not answer (%s); training goes on",
                self.uri,
                short(error),
            )
        time.sleep(RETRY_SECONDS)
        return True

    def _log_params(self) -> None:
        from mlflow.entities import Param

        settings = flatten(as_dict(self.config))
        params = [
            Param(key, str(value))
            for key, value in settings.items()
            if not key.startswith("tracking.")  # where it is recorded is not what is compared
        ]
        for first in range(0, len(params), 100):  # MLflow takes 100 at once
            self.client.log_batch(self.run_id, params=params[first : first + 100])

    def _log_metrics(self, record: dict[str, Any]) -> None:
        from mlflow.entities import Metric

        # MLflow's pages choose the metric that a run has logged first.
        order = sorted(record["metrics"], key=lambda key: key != "val/dice")
        metrics = [
            Metric(key, record["metrics"][key], record["time"], record["epoch"]) for key in order
        ]
        self.client.log_batch(self.run_id, metrics=metrics)

    def _watch_system(self) -> None:
        """Start MLflow's monitor of CPU, GPU, memory and disk, or start it again if it ended."""
        if not self.config.tracking.system_metrics:
            return
        from mlflow.system_metrics.system_metrics_monitor import SystemMetricsMonitor

        try:
            self.monitor = SystemMetricsMonitor(
                self.run_id,
                sampling_interval=self.config.tracking.system_interval,
                resume_logging=True,
                tracking_uri=self.uri,
            )
            self.monitor.start()
        except Exception as error:
            log.warning("tracking: no system metrics (%s)", error)


def parent_tag(parent: str | None) -> dict[str, str]:
    """What MLflow shows a run under another by."""
    return {"mlflow.parentRunId": parent} if parent else {}


def run_tags(source: str = "train.py") -> dict[str, str]:
    """Where the run comes from: code, machine and user."""
    from mlflow.utils.mlflow_tags import MLFLOW_GIT_COMMIT, MLFLOW_SOURCE_NAME, MLFLOW_USER

    tags = {"host": socket.gethostname(), MLFLOW_SOURCE_NAME: source}
    tags[MLFLOW_USER] = os.environ.get("USER", "unknown")
    here = Path(__file__).resolve().parent

    def git(*words: str) -> str:
        done = subprocess.run(["git", *words], cwd=here, capture_output=True, text=True, check=True)
        return done.stdout.strip()

    try:
        tags[MLFLOW_GIT_COMMIT] = git("rev-parse", "HEAD")
        tags["git.dirty"] = str(bool(git("status", "--porcelain"))).lower()
    except (OSError, subprocess.CalledProcessError):
        tags["git.dirty"] = "unknown"
    return tags
