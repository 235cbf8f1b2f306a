"""`unet3d ui`: MLflow's pages over the store, open on the comparison of a sweep."""

from __future__ import annotations

import socket
import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from unet3d.browser import show_page
from unet3d.config.command_line import GRAMMAR, hydra_text
from unet3d.config.schema import Config, UiConfig
from unet3d.errors import RunError
from unet3d.sweep.sweep_folder import SweepFolder, TrialRecord, find_sweep
from unet3d.tracking.connection import connect, short, tracking_uri
from unet3d.tracking.database import sqlite_file
from unet3d.tracking.pages import compare_page, mark_as_training, runs_page, show_columns
from unet3d.tracking.server import running_server, tracking_server

ALL = "runs"  # the view of all runs of an experiment
FIRST_PORT, PORTS = 5000, 100


def ui(config: Config, settings: UiConfig) -> None:
    """Serve the store, unless a server does already, and open its page; returns on a signal.

    Raises RunError where there is no store, no such sweep, or none of its trials has a run.
    """
    page = _page(config, settings)
    served = tracking_uri(config)
    address = served if served.startswith("http") else running_server(Path(config.output_dir))
    if address is not None:
        show_page(f"{address.rstrip('/')}/{page}", settings.open)
        return
    port = settings.port or _free_port()
    own = replace(config.tracking, name="server", host="127.0.0.1", port=port)
    with tracking_server(replace(config, tracking=own)):
        show_page(f"http://127.0.0.1:{port}/{page}", settings.open)
        print("Ctrl-C ends the server", flush=True)
        while True:
            time.sleep(3600)


def _page(config: Config, settings: UiConfig) -> str:
    """The page to open; what it needs is kept in the store."""
    if config.tracking.name == "none":
        raise RunError("tracking=none: nothing was recorded; unet3d report sweep=<name> has a page")
    folder = None if settings.sweep is None else find_sweep(config.output_dir, settings.sweep)
    file = sqlite_file(tracking_uri(config))
    if file is not None and not file.exists():
        raise RunError(f"tracking.uri: {file} does not exist; nothing was recorded there yet")
    connection = connect(config)
    assert connection is not None
    client, experiment = connection.client, connection.experiment
    try:
        if folder is None:
            mark_as_training(client, client.get_experiment(experiment))
            show_columns(client, experiment, ALL)
            return runs_page(experiment, ALL)
        runs = recorded_runs(folder.trials())
        if not runs:
            raise RunError(f"sweep: none of the trials of {settings.sweep} has a run yet")
        experiment = client.get_run(runs[0]).info.experiment_id
        mark_as_training(client, client.get_experiment(experiment))
        view = f"sweep-{settings.sweep}"
        facts = folder.facts()
        show_columns(client, experiment, view, facts.swept, facts.run_id)
        return (
            compare_page(runs, experiment)
            if settings.page == "compare"
            else runs_page(experiment, view)
        )
    except RunError:
        raise
    except Exception as error:
        raise RunError(f"tracking: {connection.uri} cannot be used ({short(error)})") from error


def recorded_runs(trials: Sequence[TrialRecord]) -> list[str]:
    """The runs of trials in the order of their numbers."""
    ordered = sorted(trials, key=lambda trial: trial.number)
    return [trial.result.run_id for trial in ordered if trial.result.run_id]


def compare_hint(config: Config, folder: SweepFolder, experiment: str) -> str:
    """How to get to the comparison of a sweep: its page on the server, or the command."""
    uri = tracking_uri(config)
    if uri.startswith("http") and config.tracking.name != "server":  # which ends with the command
        return f"{uri.rstrip('/')}/{compare_page(recorded_runs(folder.trials()), experiment)}"
    words = [f"unet3d ui sweep={folder.path.name}"]
    if config.output_dir != "outputs":
        own = config.output_dir
        words.append(f"output_dir={hydra_text(own) if GRAMMAR & set(own) else own}")
    return " ".join(words)


def _free_port() -> int:
    """The first port from 5000 on that nobody listens on."""
    for port in range(FIRST_PORT, FIRST_PORT + PORTS):
        with socket.socket() as probe:
            if probe.connect_ex(("127.0.0.1", port)):
                return port
    raise RunError(f"port: {FIRST_PORT} to {FIRST_PORT + PORTS - 1} are all taken; name a free one")
