"""A run on the test cases that its training never saw: segmented, scored and drawn, once."""

from __future__ import annotations

import logging
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from unet3d.config import Config, ConfigError, EvaluateConfig, ViewConfig
from unet3d.data.decathlon import Case, Dataset, read_dataset
from unet3d.evaluation.labels import Regions
from unet3d.evaluation.score import Pair, Row, score_all
from unet3d.training.errors import RunError

if TYPE_CHECKING:
    from unet3d.inference.trained import Trained

log = logging.getLogger(__name__)


def evaluate_run(settings: EvaluateConfig) -> tuple[Config, list[Row], Path]:
    """A run's settings, the rows of its test cases, the folder of their segmentations, pictures.

    Raises RunError where that was done before: figures from a test set that is looked at again
    and again tell less each time.
    """
    from unet3d.inference.trained import check_runs, load_trained, run_files
    from unet3d.quiet import start_tensorflow

    assert settings.run is not None
    check_runs([settings.run], settings.output_dir, settings.precision)
    folder = Path(settings.output or run_files(settings.run, settings.output_dir) / "test")
    if (folder / "summary.csv").exists() and not settings.again:
        raise RunError(
            f"run: the test cases of {settings.run} were evaluated before, see {folder}; type "
            "again=true to open them again"
        )
    start_tensorflow(settings.threads)
    trained = load_trained(
        settings.run, settings.output_dir, settings.batch_size, settings.precision
    )
    dataset, cases = _test_cases(trained.config)
    regions = shown_regions(trained)
    pairs = _segmented(trained, dataset, cases, regions, folder / "predictions", settings)
    rows = score_all(pairs, len(cases), settings.workers)
    draw(dataset, rows, regions, folder)
    return trained.config, rows, folder


def shown_regions(trained: Trained) -> Regions:
    """The label values of each output but a softmax's background."""
    targets = trained.targets
    return {
        targets.names[output]: [int(v) for v in np.flatnonzero(targets.table[:, output])]
        for output in range(1 if targets.exclusive else 0, len(targets.names))
    }


def _test_cases(config: Config) -> tuple[Dataset, list[Case]]:
    from unet3d.data.preprocess import preprocess
    from unet3d.data.split import make_split

    dataset = read_dataset(Path(config.data.root))
    names = set(make_split(preprocess(config.data).cases, config.data).test)
    if not names:
        raise ConfigError(
            "data.split.test: the run kept no test cases; evaluate it with unet3d predict on other "
            "scans, and pred=<folder> truth=<folder>"
        )
    return dataset, [case for case in dataset.cases if case.id in names]


def _segmented(
    trained: Trained,
    dataset: Dataset,
    cases: Sequence[Case],
    regions: Regions,
    folder: Path,
    settings: EvaluateConfig,
) -> Iterator[Pair]:
    """Each case, once its segmentation is written to `folder`."""
    from unet3d.inference.predict import segment_scan
    from unet3d.inference.scan import Scan, write_segmentation

    for case in cases:
        begun = time.perf_counter()
        scan = Scan(case.id, (dataset.file(case.image),))
        labels = segment_scan([trained], scan, settings.overlap, settings.tta, settings.postprocess)
        path = folder / f"{case.id}.nii.gz"
        write_segmentation(path, labels, scan.files[0])
        log.info("%s: segmented after %.1f s", case.id, time.perf_counter() - begun)
        yield Pair(case.id, dataset.file(case.label), path, regions, settings.tolerance)


def draw(dataset: Dataset, rows: Sequence[Row], regions: Regions, folder: Path) -> None:
    """Overlays of the cases with the lowest, the middle and the highest Dice, to `figures`."""
    from unet3d.evaluation.pictures import overlay
    from unet3d.evaluation.view_case import read_case
    from unet3d.visualize import save_png

    files = {case.id: case for case in dataset.cases}
    for rank, name in chosen_cases(rows).items():
        settings = ViewConfig(
            image=str(dataset.file(files[name].image)),
            pred=str(folder / "predictions" / f"{name}.nii.gz"),
            truth=str(dataset.file(files[name].label)),
            regions=regions,
        )
        save_png(overlay(read_case(settings)), folder / "figures" / f"{rank}_{name}.png")


def chosen_cases(rows: Sequence[Row]) -> dict[str, str]:
    """{"lowest": case, "median": case, "highest": case} by mean Dice; of few cases, fewer."""
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
