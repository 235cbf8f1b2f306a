"""Cases that were not trained on: segmented, scored and drawn."""

from __future__ import annotations

import logging
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from unet3d.config.compose import stored_config
from unet3d.config.schema import EvaluateConfig, ViewConfig
from unet3d.datasets.dataset import Dataset
from unet3d.datasets.label_files import Regions, read_labels
from unet3d.errors import RunError
from unet3d.evaluation.calibration import Calibration
from unet3d.evaluation.held_out import HeldOut, cases_of_test, cases_of_validation, load_group
from unet3d.evaluation.own_measures import chosen_measures
from unet3d.evaluation.region_metrics import ScoreRow
from unet3d.evaluation.score import Pair, score_all
from unet3d.inference.decision import Decision, make_decision
from unet3d.inference.ensemble import Ensemble
from unet3d.inference.network import check_runs, run_files, run_targets, start_tensorflow
from unet3d.inference.stale import keep_weights, warn_of_stale
from unet3d.sampling.targets import Targets

log = logging.getLogger(__name__)
SUMMARY = "summary.csv"


@dataclass(frozen=True)
class Evaluation:
    """The rows of all cases. part: test or out_of_fold; runs: those that segmented each case."""

    rows: list[ScoreRow]
    calibration: Calibration
    folder: Path
    part: str
    runs: dict[str, str]


def evaluate_ensemble(settings: EvaluateConfig, ensemble: Ensemble) -> Evaluation:
    """Evaluate runs on their test cases, or folds on the cases that each of them left out.

    Raises RunError where test cases were evaluated before: a test set that is looked at again and
    again says less each time about new data. Cases out of their folds served to choose the best
    weights already, and are evaluated as often as asked.
    """
    check_runs(ensemble.runs, settings.output_dir, settings.precision)
    out_of_fold = ensemble.folds and settings.part == "auto"
    usual = ensemble.out_of_fold if out_of_fold else ensemble.test
    assert usual is not None
    folder = Path(settings.output or usual)
    if not out_of_fold and (folder / SUMMARY).exists() and not settings.again:
        raise RunError(
            f"run: the test cases of {ensemble.typed} were evaluated before, see {folder}; type "
            "again=true to evaluate them again"
        )
    warn_of_stale(ensemble, settings.output_dir, (usual,))
    choose = cases_of_validation if out_of_fold else cases_of_test
    groups = choose(ensemble, settings.output_dir, settings.changed)
    targets = run_targets(ensemble.runs[0], settings.output_dir)
    decision = make_decision(
        settings.thresholds, settings.postprocess, targets, ensemble, settings.output_dir
    )
    stored = stored_config(run_files(ensemble.runs[0], settings.output_dir).config)
    measures = chosen_measures(settings.metrics, stored.validation.metrics, targets)
    start_tensorflow(settings.threads)
    dataset, regions = groups[0].dataset, shown_regions(targets)
    calibration = Calibration(targets, dataset.ignore)
    segmented = _segmented(groups, calibration, decision, regions, folder / "predictions", settings)
    pairs = (replace(one, measures=measures, background=targets.exclusive) for one in segmented)
    count = sum(len(group.cases) for group in groups)
    rows = score_all(pairs, count, settings.workers)
    keep_weights(folder, ensemble, settings.output_dir)
    draw_overlays(dataset, rows, regions, folder, groups[0].geometry)
    runs = {case.id: ",".join(group.runs) for group in groups for case in group.cases}
    return Evaluation(rows, calibration, folder, "out_of_fold" if out_of_fold else "test", runs)


def shown_regions(targets: Targets) -> Regions:
    """The label values of each output, except the background of a softmax."""
    return {
        targets.names[output]: [int(v) for v in np.flatnonzero(targets.table[:, output] > 0)]
        for output in range(1 if targets.exclusive else 0, len(targets.names))
    }


def _segmented(
    groups: Sequence[HeldOut],
    calibration: Calibration,
    decision: Decision,
    regions: Regions,
    folder: Path,
    settings: EvaluateConfig,
) -> Iterator[Pair]:
    """Yields each case once its segmentation is written to `folder`."""
    from unet3d.inference.predict import segment_scan
    from unet3d.inference.scan import Scan, write_segmentation

    for group in groups:
        networks = load_group(group, settings)
        for case in group.cases:
            start = time.perf_counter()
            scan, label = Scan(case.id, group.dataset.images(case)), group.dataset.file(case.label)
            watch = calibration.watch(read_labels(label)[0])
            labels = segment_scan(networks, scan, settings.overlap, settings.tta, decision, watch)
            path = folder / f"{case.id}.nii.gz"
            write_segmentation(path, labels, scan.files[0])
            log.info("%s: segmented after %.1f s", case.id, time.perf_counter() - start)
            yield Pair(
                case.id,
                label,
                path,
                regions,
                settings.tolerance,
                group.geometry,
                group.dataset.ignore,
            )


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
