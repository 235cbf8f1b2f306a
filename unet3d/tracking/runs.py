"""Runs that the tracking store calls RUNNING, and how to close those whose process has ended."""

from __future__ import annotations

import logging
from collections.abc import Iterable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from unet3d.config.schema import Config
from unet3d.errors import RunError
from unet3d.tracking.connection import Connection, connect, short, tracking_uri

log = logging.getLogger(__name__)
PAGE = 1000


@dataclass(frozen=True)
class Ending:
    """How a run is to be closed. ended: when its process did, in seconds since 1970."""

    run_id: str
    status: str
    reason: str
    ended: float


def store_of(config: Config) -> Connection | None:
    """The tracking store, for looking only: None where there is none yet, or with tracking=none.

    A store that does not answer is a warning.
    """
    uri = tracking_uri(config)
    if config.tracking.name == "none" or (
        uri.startswith("sqlite:///") and not Path(uri.removeprefix("sqlite:///")).exists()
    ):
        return None
    try:
        return connect(config)
    except RunError as error:
        log.warning("%s", error)
        return None


def running_runs(store: Connection) -> set[str]:
    """The ids of all runs that the store calls RUNNING, of every experiment."""
    experiments = [e.experiment_id for e in store.client.search_experiments()]
    found: set[str] = set()
    token = None
    while experiments:
        runs = store.client.search_runs(
            experiments, "attributes.status = 'RUNNING'", max_results=PAGE, page_token=token
        )
        found |= {run.info.run_id for run in runs}
        token = runs.token
        if not token:
            break
    return found


def statuses(store: Connection, run_ids: Iterable[str]) -> dict[str, str]:
    """The status of each run that the store knows."""
    found = {}
    for run_id in run_ids:
        with suppress(Exception):  # of another store
            found[run_id] = store.client.get_run(run_id).info.status
    return found


def close_in_store(store: Connection, ending: Ending) -> None:
    """Record how a run ended; a warning where the store does not take it."""
    try:
        if ending.reason:
            store.client.set_tag(ending.run_id, "unet3d.reason", ending.reason[:5000])
        milliseconds = int(ending.ended * 1000)
        store.client.set_terminated(ending.run_id, ending.status, milliseconds)
    except Exception as error:
        log.warning("tracking: run %s could not be closed (%s)", ending.run_id, short(error))
