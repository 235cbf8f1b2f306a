"""Files of segmentations against files of labels, a process for each core."""

from __future__ import annotations

import logging
import os
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from unet3d.config import ConfigError
from unet3d.evaluation.case import evaluate_masks
from unet3d.evaluation.labels import Regions, read_labels
from unet3d.inference.scan import check_same_grid

log = logging.getLogger(__name__)
Row = tuple[str, str, dict[str, float]]  # case, region, metrics


@dataclass(frozen=True)
class Pair:
    """A case's label file and its segmentation; tolerance: mm, of NSD."""

    case: str
    truth: Path
    prediction: Path
    regions: Regions
    tolerance: float


def score(pair: Pair) -> list[Row]:
    """The metrics of each region, on the grid of the files.

    Raises DataError for a file that is damaged, and for two grids.
    """
    truth, header = read_labels(pair.truth)
    labels, own = read_labels(pair.prediction)
    check_same_grid(pair.prediction, own, pair.truth, header)
    rows = []
    for region, values in pair.regions.items():
        masks = np.isin(truth, values), np.isin(labels, values)
        rows.append((pair.case, region, evaluate_masks(*masks, header.spacing, pair.tolerance)))
    return rows


def score_all(pairs: Iterable[Pair], count: int, workers: int | None) -> list[Row]:
    """The rows of all pairs, in their order.

    pairs: `count` of them, which may be made one by one: the next is, while earlier ones are
    scored. workers: processes; None: one a core, at most one a pair. Raises as `score` does.
    """
    if workers is not None and workers < 1:
        raise ConfigError(f"workers: {workers} is below 1")
    processes = min(workers or len(os.sched_getaffinity(0)), count)
    if processes < 2:
        return [row for pair in pairs for row in _told(pair.case, score(pair))]
    from concurrent.futures import ProcessPoolExecutor
    from multiprocessing import get_context

    # Started anew: a fork of a process in which TensorFlow has threads may hang.
    with ProcessPoolExecutor(processes, get_context("spawn")) as pool:
        try:
            begun = [(pair.case, pool.submit(score, pair)) for pair in pairs]
            return [row for case, future in begun for row in _told(case, future.result())]
        except BaseException:
            pool.shutdown(wait=False, cancel_futures=True)
            raise


def _told(case: str, rows: list[Row]) -> list[Row]:
    log.info("%s: scored", case)
    return rows
