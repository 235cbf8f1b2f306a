"""`unet3d record`: a run's record in the tracking store, made again from the run's folder."""

from __future__ import annotations

import csv
import logging
import math
from dataclasses import replace
from pathlib import Path

from unet3d.config.compose import stored_config
from unet3d.config.schema import Config
from unet3d.config.schema.commands import RecordConfig
from unet3d.errors import RunError
from unet3d.run_folder import RunFolder, run_folder
from unet3d.tracking.connection import connect
from unet3d.tracking.record import record_run

log = logging.getLogger(__name__)


def record(settings: RecordConfig) -> str:
    """Record a run, or what the store lacks of it; returns its id in the store.

    Raises RunError for a run that has no folder, and where the store does not take all.
    """
    from unet3d.training.checkpoint import has_checkpoint, read_progress

    folder = run_folder(settings.output_dir, settings.run)
    if not folder.config.is_file():
        raise RunError(
            f"run: {settings.run} is not a run in {folder.path.parent}; output_dir says where "
            "runs are"
        )
    config = _config(settings, folder)
    connection = connect(config, lost_run_ok=True)
    assert connection is not None
    history = read_progress(folder).history if has_checkpoint(folder) else []
    stored = record_run(connection, config, folder, history, _test_metrics(folder.test))
    log.info("run %s is in %s as %s", settings.run, connection.uri, stored)
    return stored


def _config(settings: RecordConfig, folder: RunFolder) -> Config:
    """The run's settings, with its folder and store where they are now."""
    config = stored_config(folder.config)
    tracking, output = config.tracking, Path(settings.output_dir)
    tracking = replace(
        tracking,
        name="mlflow",  # also of a run that was trained with tracking=none
        uri=settings.uri or tracking.uri,
        experiment=settings.experiment or tracking.experiment,
    )
    if output.resolve() != Path(config.output_dir).resolve():  # the folder has moved
        moved = f"sqlite:///{config.output_dir}/mlflow.db"
        if tracking.uri == moved:
            tracking = replace(tracking, uri=f"sqlite:///{output}/mlflow.db")
        if Path(tracking.artifacts) == Path(config.output_dir) / "mlartifacts":
            tracking = replace(tracking, artifacts=str(output / "mlartifacts"))
    return replace(config, tracking=tracking, output_dir=str(output), resume=settings.run)


def _test_metrics(folder: Path) -> dict[str, float]:
    """The means that `unet3d evaluate` has written, as it logs them."""
    path = folder / "summary.csv"
    if not path.is_file():
        return {}
    with path.open(encoding="utf-8", newline="") as file:
        rows = [(f"{row['metric']}_{row['region']}", row["mean"]) for row in csv.DictReader(file)]
    means = {name: float(value) for name, value in rows}
    dice = [value for name, value in means.items() if name.startswith("dice_")]
    metrics = {f"test/{name}": value for name, value in means.items() if math.isfinite(value)}
    return metrics | ({"test/dice": sum(dice) / len(dice)} if dice else {})
