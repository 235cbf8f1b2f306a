"""Settings of the commands on runs, sweeps and what is kept of them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Optional

from omegaconf import MISSING

from unet3d.config.allowed import AT_LEAST_0, FOLDER_NAME, PORT, one_of
from unet3d.config.setting import setting


@dataclass
class ReportConfig:
    """`unet3d report`: what it takes beside the settings of a training."""

    sweep: str = setting("", "name of a sweep")
    format: str = setting(
        "html",
        "html: the page; paper: LaTeX and CSV tables, figures in PDF and SVG, a methods paragraph "
        "and its references, in the sweep's folder",
        one_of("html", "paper"),
    )


@dataclass
class RecordConfig:
    """`unet3d record`: a run's record in the tracking store, from the run's folder."""

    run: str = setting(MISSING, "id of a run")
    uri: Optional[str] = setting(
        None,
        "address of the MLflow store; null: that of the run; MLFLOW_TRACKING_URI, if set, replaces "
        "both",
    )
    experiment: Optional[str] = setting(
        None, "experiment where the store does not know the run; null: that of the run"
    )
    output_dir: str = setting("outputs", "folder of the runs")


@dataclass
class RunsConfig:
    """`unet3d runs`: what it takes beside the settings of a training."""

    close: bool = setting(
        False,
        "instead, close the runs and sweeps whose process has ended: as KILLED, with the reason",
    )


@dataclass
class UiConfig:
    """`unet3d ui`: what it takes beside the settings of a training."""

    sweep: Optional[str] = setting(
        None, "name of a sweep, to open on its trials; null: on all runs", FOLDER_NAME
    )
    page: str = setting(
        "compare",
        "what opens of a sweep: compare, its trials side by side, or table, all runs",
        one_of("compare", "table"),
    )
    port: Optional[int] = setting(None, "to listen on; null: the first free one from 5000", PORT)
    open: bool = setting(True, "open a browser, where there is a screen; the address is printed")


@dataclass
class CleanConfig:
    """`unet3d clean`: what it takes beside the settings of a training."""

    yes: bool = setting(False, "remove what is shown; else nothing is removed")
    what: str = setting(
        "all",
        "resume: states to resume from, of runs that have finished; stores: of data sets that are "
        "gone; jobs: what dead processes have left",
        one_of("all", "resume", "stores", "jobs"),
    )
    days: float = setting(7.0, "only what nothing has written to for so many days", AT_LEAST_0)
