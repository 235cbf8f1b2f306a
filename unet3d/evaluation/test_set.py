"""A run on its test cases, which training never saw: segmented, scored and drawn, once."""

from __future__ import annotations

import logging
import time
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from unet3d.config.schema import Config, EvaluateConfig, ViewConfig
from unet3d.datasets.dataset import Case, Dataset
from unet3d.datasets.label_files import Regions
from unet3d.datasets.read import read_dataset
from unet3d.errors import ConfigError, RunError
from unet3d.evaluation.region_metrics import ScoreRow
from unet3d.evaluation.score import Pair, score_all
from unet3d.preprocessing.preprocess import preprocess
from unet3d.preprocessing.store_key import case_identities, input_identity
from unet3d.sampling.find_split import recorded_split
from unet3d.sampling.split import make_split
from unet3d.sampling.split_record import (
    check_cases,
    check_description,
    log_changes,
)

if TYPE_CHECKING:
    from unet3d.inference.network import TrainedNetwork

log = logging.getLogger(__name__)
ACCEPT = "changed=accept"


def evaluate_run(settings: EvaluateConfig) -> tuple[Config, list[ScoreRow], Path]:
    """Evaluate a run on its test cases; returns its settings, their rows and the output folder.

    Raises RunError where that was done before: a test set that is looked at again and again says
    less each time about new data.
    """
    from unet3d.config.compose import stored_config
    from unet3d.inference.network import check_runs, load_trained, run_files, start_tensorflow

    assert settings.run is not None
    check_runs([settings.run], settings.output_dir, settings.precision)
    files = run_files(settings.run, settings.output_dir)
    folder = Path(settings.output or files.test)
    if (folder / "summary.csv").exists() and not settings.again:
        raise RunError(
            f"run: the test cases of {settings.run} were evaluated before, see {folder}; type "
            "again=true to evaluate them again"
        )
    dataset, cases = _test_cases(stored_config(files.config), settings)
    start_tensorflow(settings.threads)
    trained = load_trained(
        settings.run, settings.output_dir, settings.batch_size, settings.precision
    )
    regions = shown_regions(trained)
    pairs = _segmented(trained, dataset, cases, regions, folder / "predictions", settings)
    rows = score_all(pairs, len(cases), settings.workers)
    draw_overlays(dataset, rows, regions, folder, trained.config.data.geometry)
    return trained.config, rows, folder


def shown_regions(trained: TrainedNetwork) -> Regions:
    """The label values of each output, except the background of a softmax."""
    targets = trained.targets
    return {
        targets.names[output]: [int(v) for v in np.flatnonzero(targets.table[:, output])]
        for output in range(1 if targets.exclusive else 0, len(targets.names))
    }


def _test_cases(config: Config, settings: EvaluateConfig) -> tuple[Dataset, list[Case]]:
    """The data set, and the cases that the run kept for its test when it began.

    Raises DataError where those have changed since, unless that is accepted.
    """
    data = replace(config.data, changed=settings.changed)
    config = replace(config, resume=settings.run, output_dir=settings.output_dir, data=data)
    dataset = read_dataset(data)
    record = recorded_split(config)
    if record is None:
        names = set(make_split(preprocess(data).cases, data, dataset).test)
    else:
        names = set(record.split.test)
        kept = replace(dataset, cases=tuple(case for case in dataset.cases if case.id in names))
        check_description(dataset, config, ACCEPT)
        found = case_identities(input_identity(kept))
        differ = check_cases(record, record.split.test, found, config, ACCEPT)
        log_changes(record, differ, (case.id for case in dataset.cases), config)
    if not names:
        raise ConfigError(
            "data.split.test: the run kept no test cases; segment other scans with unet3d predict "
            "and evaluate those with pred=<folder> truth=<folder>"
        )
    return dataset, [case for case in dataset.cases if case.id in names]


def _segmented(
    trained: TrainedNetwork,
    dataset: Dataset,
    cases: Sequence[Case],
    regions: Regions,
    folder: Path,
    settings: EvaluateConfig,
) -> Iterator[Pair]:
    """Yields each case once its segmentation is written to `folder`."""
    from unet3d.inference.predict import segment_scan
    from unet3d.inference.scan import Scan, write_segmentation

    for case in cases:
        start = time.perf_counter()
        scan = Scan(case.id, dataset.images(case))
        labels = segment_scan([trained], scan, settings.overlap, settings.tta, settings.postprocess)
        path = folder / f"{case.id}.nii.gz"
        write_segmentation(path, labels, scan.files[0])
        log.info("%s: segmented after %.1f s", case.id, time.perf_counter() - start)
        label, geometry = dataset.file(case.label), trained.config.data.geometry
        ignore = dataset.ignore
        yield Pair(case.id, label, path, regions, settings.tolerance, geometry, ignore)


def draw_overlays(
    dataset: Dataset, rows: Sequence[ScoreRow], regions: Regions, folder: Path, geometry: str
) -> None:
    """Draw overlays of the cases with the lowest, median and highest Dice into `figures`."""
    from unet3d.plotting import save_png
    from unet3d.viewer.case import read_case
    from unet3d.viewer.overlay import overlay

    files = {case.id: case for case in dataset.cases}
    for rank, name in chosen_cases(rows).items():
        settings = ViewConfig(
            image=str(dataset.images(files[name])[0]),
            pred=str(folder / "predictions" / f"{name}.nii.gz"),
            truth=str(dataset.file(files[name].label)),
            regions=regions,
            geometry=geometry,
        )
        save_png(overlay(read_case(settings)), folder / "figures" / f"{rank}_{name}.png")


def chosen_cases(rows: Sequence[ScoreRow]) -> dict[str, str]:
    """{"lowest": case, "median": case, "highest": case} by mean Dice; fewer of few cases."""
    dice: dict[str, list[float]] = {}
    for case, _, metrics in rows:
        dice.setdefault(case, []).append(metrics["dice"])
    ranked = sorted(dice, key=lambda case: (float(np.mean(dice[case])), case))
    places = {"lowest": 0, "median": len(ranked) // 2, "highest": len(ranked) - 1}
    chosen: dict[str, str] = {}
    for rank, place in places.items():
        if ranked[place] not in chosen.values():
            chosen[rank] = ranked[place]
    return chosen
