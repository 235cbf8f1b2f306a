"""`unet3d evaluate`: score runs on cases they were not trained on, or a folder of segmentations."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from unet3d.config.compose import stored_config
from unet3d.config.schema import EvaluateConfig, PostprocessConfig
from unet3d.datasets.label_files import chosen_regions, label_files
from unet3d.errors import ConfigError, DataError
from unet3d.evaluation.own_measures import chosen_measures
from unet3d.evaluation.region_metrics import METRICS, ScoreRow
from unet3d.evaluation.score import Pair, score_all
from unet3d.evaluation.summary import write_table
from unet3d.inference.ensemble import Ensemble
from unet3d.inference.network import run_files
from unet3d.sampling.targets import Targets
from unet3d.terminal import print_table

if TYPE_CHECKING:
    from unet3d.evaluation.test_set import Evaluation

log = logging.getLogger(__name__)


def evaluate(settings: EvaluateConfig, ensemble: Ensemble | None) -> dict[str, float]:
    """Write the tables of all cases; returns the means by region, which MLflow shows as test/...

    ensemble: the runs to evaluate; None: two folders. Raises ConfigError, RunError or DataError
    for anything that cannot be evaluated.
    """
    if ensemble and (settings.pred or settings.truth):
        raise ConfigError("run: give either run=<id>, or pred=<folder> truth=<folder>")
    if ensemble:
        from unet3d.evaluation.test_set import evaluate_ensemble

        found = evaluate_ensemble(settings, ensemble)
        summary = _tabulate(found.rows, found.folder, found.runs)
        found.calibration.write(found.folder)
        errors = found.calibration.errors()
        for name, value in errors.items():
            log.info("%s: %.4f", name, value)
        _record(ensemble, settings.output_dir, found, {**summary, **errors})
        return {**summary, **errors}
    if not (settings.pred and settings.truth):
        raise ConfigError(
            "run: not set; type run=<id>, or pred=<folder> truth=<folder>, or sweep=<name>"
        )
    if settings.thresholds != "0.5" or settings.postprocess != PostprocessConfig():
        raise ConfigError(
            "pred: thresholds and postprocess are of networks; the segmentations in "
            f"{settings.pred} are scored as they are"
        )
    folder = Path(settings.output or Path(settings.pred) / "evaluation")
    pairs = _pairs(Path(settings.pred), Path(settings.truth), settings)
    return _tabulate(score_all(pairs, len(pairs), settings.workers), folder, {})


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
    outputs = Targets(tuple(regions), np.zeros((256, len(regions)), np.float32), False)
    measures = chosen_measures(settings.metrics, None, outputs)
    return [
        Pair(
            name,
            path,
            predictions[name],
            regions,
            settings.tolerance,
            settings.geometry,
            measures=measures,
        )
        for name, path in sorted(truths.items())
    ]


def _tabulate(rows: list[ScoreRow], folder: Path, runs: Mapping[str, str]) -> dict[str, float]:
    """Write the tables and print means and deviations. runs: that segmented each case, if any."""
    summary = write_table(rows, folder, runs)
    own = [name for name in rows[0][2] if name not in METRICS]
    shown = ("hd95", "nsd", "sensitivity", "precision", "lesion_f1", *own)
    lines = []
    for region, found in summary.items():
        dice = found["dice"]
        means = (found[name]["mean"] for name in shown)
        lines.append((region, *(f"{v:.4g}" for v in (dice["mean"], dice["std"], *means))))
    print_table(("region", "dice", "deviation", *shown), lines, ("region",), 100 + 12 * len(own))
    log.info("%d cases; tables and box plots are in %s", len({case for case, _, _ in rows}), folder)
    return {
        f"{metric}_{region}": cell["mean"]
        for region, found in summary.items()
        for metric, cell in found.items()
    }


def _record(
    ensemble: Ensemble, output_dir: str, found: Evaluation, summary: dict[str, float]
) -> None:
    """Log means, tables, segmentations and pictures to the run, or to that of the sweep.

    As test/..., or out_of_fold/... .
    """
    from unet3d.tracking.connection import connect, record_or_warn
    from unet3d.tracking.keys import mlflow_key

    if ensemble.record is None:
        return
    stored = stored_config(run_files(ensemble.runs[0], output_dir).config)
    config = replace(stored, resume=ensemble.record, output_dir=output_dir)

    def log_all() -> None:
        connection = connect(config)
        if connection is None:
            return
        dice = [value for name, value in summary.items() if name.startswith("dice_")]
        means = {f"{found.part}/{name}": v for name, v in summary.items() if np.isfinite(v)}
        means[f"{found.part}/dice"] = float(np.mean(dice))
        for name, value in means.items():
            connection.client.log_metric(connection.run, mlflow_key(name), value)
        connection.client.log_artifacts(connection.run, str(found.folder), found.part)

    record_or_warn(log_all)
