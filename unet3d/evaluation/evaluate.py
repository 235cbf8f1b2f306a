"""`unet3d evaluate`: score a run on its test cases, once, or a folder of segmentations."""

from __future__ import annotations

import logging
from dataclasses import replace
from pathlib import Path

import numpy as np

from unet3d.config.schema import Config, EvaluateConfig
from unet3d.datasets.label_files import chosen_regions, label_files
from unet3d.errors import ConfigError, DataError
from unet3d.evaluation.region_metrics import ScoreRow
from unet3d.evaluation.score import Pair, score_all
from unet3d.evaluation.summary import write_table

log = logging.getLogger(__name__)


def evaluate(settings: EvaluateConfig) -> dict[str, float]:
    """Write the tables of all cases; returns the means by region, which MLflow shows as test/...

    Raises ConfigError, RunError or DataError for anything that cannot be evaluated.
    """
    if settings.run and (settings.pred or settings.truth):
        raise ConfigError("run: give either run=<id>, or pred=<folder> truth=<folder>")
    if settings.run:
        from unet3d.evaluation.test_set import evaluate_run

        config, rows, folder = evaluate_run(settings)
        summary = _tabulate(rows, folder)
        _record(replace(config, resume=settings.run), summary, folder)
        return summary
    if not (settings.pred and settings.truth):
        raise ConfigError("run: not set; type run=<id>, or pred=<folder> truth=<folder>")
    folder = Path(settings.output or Path(settings.pred) / "evaluation")
    pairs = _pairs(Path(settings.pred), Path(settings.truth), settings)
    return _tabulate(score_all(pairs, len(pairs), settings.workers), folder)


def _pairs(pred: Path, truth: Path, settings: EvaluateConfig) -> list[Pair]:
    """Each label file of `truth` with the file of the same name in `pred`."""
    truths, predictions = (label_files(folder) for folder in (truth, pred))
    missing = sorted(truths.keys() - predictions.keys())
    if missing:
        raise DataError(
            f"pred: {pred} lacks {len(missing)} of {len(truths)} segmentations, among them "
            f"{', '.join(missing[:5])}"
        )
    extra = sorted(predictions.keys() - truths.keys())
    if extra:
        log.warning("pred: %d files have no truth and are left out: %s", len(extra), extra[0])
    regions = chosen_regions(settings.regions, truths.values())
    return [
        Pair(name, path, predictions[name], regions, settings.tolerance, settings.geometry)
        for name, path in sorted(truths.items())
    ]


def _tabulate(rows: list[ScoreRow], folder: Path) -> dict[str, float]:
    """Write the tables and print the means."""
    from rich.console import Console
    from rich.table import Table

    summary = write_table(rows, folder)
    shown = ("dice", "hd95", "nsd", "sensitivity", "precision", "lesion_f1")
    table = Table()
    for heading in ("region", *shown):
        table.add_column(heading)
    for region in dict.fromkeys(region for _, region, _ in rows):
        values = [summary[f"{metric}_{region}"] for metric in shown]
        table.add_row(region, *(f"{value:.4g}" for value in values))
    Console(width=100).print(table)
    log.info("%d cases; tables and box plots are in %s", len({case for case, _, _ in rows}), folder)
    return summary


def _record(config: Config, summary: dict[str, float], folder: Path) -> None:
    """Log means as test/..., tables, segmentations and pictures to the run that was evaluated."""
    from unet3d.tracking.connection import connect, record_or_warn
    from unet3d.tracking.keys import mlflow_key

    def log_all() -> None:
        connection = connect(config)
        if connection is None:
            return
        dice = [value for name, value in summary.items() if name.startswith("dice_")]
        means = {f"test/{name}": v for name, v in summary.items() if np.isfinite(v)}
        means["test/dice"] = float(np.mean(dice))
        for name, value in means.items():
            connection.client.log_metric(connection.run, mlflow_key(name), value)
        connection.client.log_artifacts(connection.run, str(folder), "test")

    record_or_warn(log_all)
