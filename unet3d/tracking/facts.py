"""What the store knows of a run beside settings and metrics, kept in the run's folder, too."""

from __future__ import annotations

import contextlib
import json
import os
import socket
import subprocess
import time
from dataclasses import asdict, dataclass, field, fields, replace
from pathlib import Path

from unet3d.config.schema import Config
from unet3d.files import read_text, write_text
from unet3d.run_folder import RunFolder
from unet3d.tracking.keys import mlflow_key


@dataclass
class RunFacts:
    """Times are in milliseconds since 1970. status: RUNNING also of a run whose process died.

    dataset: name, digest, root and cases of the data set that the run trains on.
    """

    name: str | None = None
    tags: dict[str, str] = field(default_factory=dict)
    status: str = "RUNNING"
    reason: str = ""
    start: int | None = None
    end: int | None = None
    dataset: dict[str, str] = field(default_factory=dict)


def read_facts(folder: RunFolder) -> RunFacts:
    """The facts of a run; without tags and times where an earlier version recorded it."""
    try:
        stored = json.loads(read_text(folder.facts) or "{}")
        known = {entry.name for entry in fields(RunFacts)}
        return RunFacts(**{key: value for key, value in stored.items() if key in known})
    except (ValueError, AttributeError):  # not worth a run
        return RunFacts()


def write_facts(folder: RunFolder, facts: RunFacts) -> None:
    """Keep the facts in the run's folder; where that cannot be written, the training says so."""
    with contextlib.suppress(OSError):
        write_text(folder.facts, json.dumps(asdict(facts), indent=1))


def end_facts(folder: RunFolder, status: str, reason: str) -> None:
    """Keep how a run ended whose own process could not; nothing where the run has no folder."""
    if folder.config.is_file():
        facts = read_facts(folder)
        write_facts(folder, replace(facts, status=status, reason=reason, end=now()))


def now() -> int:
    """The time as MLflow counts it."""
    return int(time.time() * 1000)


def new_facts(config: Config) -> RunFacts:
    """The facts of a run that starts now."""
    own = {mlflow_key(key): value for key, value in config.tracking.tags.items()}
    tags = {**run_tags(), **parent_tag(config.tracking.parent), **own}
    return RunFacts(name=config.tracking.run_name, tags=tags, start=now())


def parent_tag(parent: str | None) -> dict[str, str]:
    """The tag by which MLflow shows a run below its parent."""
    return {"mlflow.parentRunId": parent} if parent else {}


def run_tags(source: str = "train.py") -> dict[str, str]:
    """Tags that say where a run comes from: code, machine and user, under MLflow's own names."""
    tags = {"host": socket.gethostname(), "mlflow.source.name": source}
    tags["mlflow.user"] = os.environ.get("USER", "unknown")
    here = Path(__file__).resolve().parent

    def git(*words: str) -> str:
        done = subprocess.run(["git", *words], cwd=here, capture_output=True, text=True, check=True)
        return done.stdout.strip()

    try:
        tags["mlflow.source.git.commit"] = git("rev-parse", "HEAD")
        tags["git.dirty"] = str(bool(git("status", "--porcelain"))).lower()
    except (OSError, subprocess.CalledProcessError):
        tags["git.dirty"] = "unknown"
    return tags
