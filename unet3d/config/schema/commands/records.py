"""Settings of the commands on runs, sweeps and what is kept of them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Optional

from omegaconf import MISSING

from unet3d.config.allowed import AT_LEAST_0, AT_LEAST_1, FOLDER_NAME, PORT, RUN_ID, one_of
from unet3d.config.schema.commands import shared
from unet3d.config.setting import group, setting


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
class CapsuleDataConfig:
    """Where the data of a capsule are."""

    root: Optional[str] = setting(
        None, "check: folder of the data, as data.root of a training; null: as the run", path=True
    )


@dataclass
class CapsuleConfig:
    """`unet3d capsule`: a run as one archive, and whether it comes out again."""

    run: Optional[str] = setting(None, "id of a run that has finished, to be written", RUN_ID)
    check: Optional[str] = setting(
        None,
        "instead, an archive: compare it with its manifest, the data here with its digests, "
        "and the run, made again, with its figures",
        path=True,
    )
    output: Optional[str] = setting(
        None, "run: the archive; null: capsules/<id>.zip in output_dir", path=True
    )
    train: bool = setting(
        True, "check: train again; false: only evaluate the best weights on the validation cases"
    )
    epochs: Optional[int] = setting(
        None, "check: train only so many first epochs of the run; null: all", AT_LEAST_1
    )
    loss_tolerance: float = setting(
        0.02, "check: difference of a loss that is allowed, as a share of it", AT_LEAST_0
    )
    dice_tolerance: float = setting(
        0.02, "check: difference of an epoch's val/dice that is allowed", AT_LEAST_0
    )
    weights_tolerance: float = setting(
        0.001,
        "check: difference of Dice, and of the loss as a share of it, of a validation case with "
        "the best weights that is allowed",
        AT_LEAST_0,
    )
    output_dir: str = shared.output_dir()
    threads: Optional[int] = shared.threads()
    data: CapsuleDataConfig = group(CapsuleDataConfig)


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
