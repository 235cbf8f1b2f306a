"""`unet3d evaluate`: a run on its test cases, once, or one folder of segmentations."""

from __future__ import annotations

import logging
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from unet3d.config import Config, ConfigError, EvaluateConfig
from unet3d.data.decathlon import read_dataset
from unet3d.data.errors import DataError
from unet3d.data.volume import Header
from unet3d.evaluation.case import evaluate_masks
from unet3d.evaluation.labels import Regions, chosen_regions, label_files, read_labels
from unet3d.evaluation.table import write_table
from unet3d.inference.scan import check_same_grid
from unet3d.training.errors import RunError

log = logging.getLogger(__name__)
Row = tuple[str, str, dict[str, float]]  # case, region, metrics


def evaluate(settings: EvaluateConfig) -> dict[str, float]:
    """Tables of all cases, and the means by region that MLflow shows as test/...

    Raises ConfigError, RunError or DataError for what cannot be evaluated.
    """
    if settings.run and (settings.pred or settings.truth):
        raise ConfigError("run: give either run=<id>, or pred=<folder> truth=<folder>")
    if settings.run:
        return evaluate_run(settings)
    if not (settings.pred and settings.truth):
        raise ConfigError("run is not set; type run=<id>, or pred=<folder> truth=<folder>")
    folder = Path(settings.output or Path(settings.pred) / "evaluation")
    rows = list(_folder_rows(Path(settings.pred), Path(settings.truth), settings))
    return _finish(rows, folder)


def evaluate_run(settings: EvaluateConfig) -> dict[str, float]:
    """Segment and score the test cases, which training never saw; into the same MLflow run.

    Raises RunError where that was done before: figures from a test set that is looked at again
    and again tell less each time.
    """
    from unet3d.inference.trained import load_trained
    from unet3d.quiet import start_tensorflow
    from unet3d.tracking.run import run_folder

    assert settings.run is not None
    start_tensorflow(settings.threads)
    trained = load_trained(settings.run, settings.output_dir, settings.batch_size)
    config = trained.config
    folder = Path(settings.output or run_folder(config, settings.run) / "test")
    if (folder / "summary.csv").exists() and not settings.again:
        raise RunError(
            f"run: the test cases of {settings.run} were evaluated before, see {folder}; type "
            "again=true to open them again"
        )
    summary = _finish(list(_test_rows(trained, settings)), folder)
    _record(config, settings.run, summary, folder)
    return summary


def _test_rows(trained: Any, settings: EvaluateConfig) -> Iterator[Row]:
    from unet3d.data.preprocess import preprocess
    from unet3d.data.split import make_split
    from unet3d.inference.predict import segment_scan
    from unet3d.inference.scan import Scan

    data, targets = trained.config.data, trained.targets
    dataset = read_dataset(Path(data.root))
    names = set(make_split(preprocess(data).cases, data).test)
    if not names:
        raise ConfigError(
            "data.split.test: the run kept no test cases; evaluate it with unet3d predict on other "
            "scans, and pred=<folder> truth=<folder>"
        )
    shown = range(1 if targets.exclusive else 0, len(targets.names))
    regions = {
        targets.names[output]: [int(v) for v in np.flatnonzero(targets.table[:, output])]
        for output in shown
    }
    for case in (case for case in dataset.cases if case.id in names):
        begun = time.perf_counter()
        scan = Scan(case.id, (dataset.file(case.image),))
        labels = segment_scan([trained], scan, settings.overlap, settings.tta, settings.postprocess)
        truth, header = read_labels(dataset.file(case.label))
        yield from score(case.id, truth, labels, header, regions, settings.tolerance)
        log.info("%s: segmented and scored after %.1f s", case.id, time.perf_counter() - begun)


def _folder_rows(pred: Path, truth: Path, settings: EvaluateConfig) -> Iterator[Row]:
    """Each label file of `truth` with the file of its name in `pred`."""
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
    for name, path in sorted(truths.items()):
        reference, header = read_labels(path)
        labels, own = read_labels(predictions[name])
        check_same_grid(predictions[name], own, path, header)
        yield from score(name, reference, labels, header, regions, settings.tolerance)
        log.info("%s: scored", name)


def score(
    name: str,
    truth: np.ndarray,
    labels: np.ndarray,
    header: Header,
    regions: Regions,
    tolerance: float,
) -> Iterator[Row]:
    """The metrics of each region of a case, on the grid of its file."""
    for region, values in regions.items():
        masks = np.isin(truth, values), np.isin(labels, values)
        yield name, region, evaluate_masks(*masks, header.spacing, tolerance)


def _finish(rows: list[Row], folder: Path) -> dict[str, float]:
    """Write the tables, print the means."""
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


def _record(config: Config, run: str, summary: dict[str, float], folder: Path) -> None:
    """The means as test/... and the tables, in the run that was evaluated."""
    from dataclasses import replace

    from unet3d.tracking.store import connect
    from unet3d.tracking.sweep import keep

    def log_all() -> None:
        connection = connect(replace(config, resume=run))
        if connection is None:
            return
        for name, value in summary.items():
            if np.isfinite(value):
                connection.client.log_metric(run, f"test/{name}", value)
        dice = [value for name, value in summary.items() if name.startswith("dice_")]
        connection.client.log_metric(run, "test/dice", float(np.mean(dice)))
        connection.client.log_artifacts(run, str(folder), "test")

    keep(log_all)
