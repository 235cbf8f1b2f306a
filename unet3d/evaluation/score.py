"""Score segmentation files against label files, with a process for each core."""

from __future__ import annotations

import logging
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from unet3d.datasets.grids import check_same_grid
from unet3d.datasets.label_files import Regions, read_labels
from unet3d.errors import ConfigError
from unet3d.evaluation.own_measures import own_values
from unet3d.evaluation.region_metrics import ScoreRow, evaluate_masks
from unet3d.machine import cores, end_with_parent
from unet3d.training.own_metrics import OwnMetric

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Pair:
    """A case's label file and its segmentation; tolerance: mm, of NSD.

    geometry: strict, or image, by which the affine of the segmentation counts. ignore: the label
    value of voxels where nothing is known, and nothing counts. measures: metrics of the user's own;
    background: whether they get it as the first output, as of a softmax.
    """

    case: str
    truth: Path
    prediction: Path
    regions: Regions
    tolerance: float
    geometry: str = "strict"
    ignore: int | None = None
    measures: tuple[OwnMetric, ...] = ()
    background: bool = False


def score(pair: Pair) -> list[ScoreRow]:
    """The metrics of each region, on the grid of the files.

    Raises DataError for a damaged file, and where the grids differ.
    """
    truth, header = read_labels(pair.truth)
    labels, own = read_labels(pair.prediction)
    check_same_grid(pair.prediction, own, pair.truth, header, pair.geometry, "geometry")
    spacing = (header if pair.geometry == "strict" else own).spacing
    rows = []
    if pair.ignore is not None:
        labels = np.where(truth == pair.ignore, 0, labels)
    for region, values in pair.regions.items():
        masks = np.isin(truth, values), np.isin(labels, values)
        rows.append((pair.case, region, evaluate_masks(*masks, spacing, pair.tolerance)))
    if pair.measures:
        outputs = (_outputs(truth, pair), _outputs(labels, pair))
        each = own_values(pair.measures, pair.case, *outputs, spacing)
        for (_, _, metrics), more in zip(rows, each[1 if pair.background else 0 :], strict=True):
            metrics |= more
    return rows


def _outputs(labels: np.ndarray, pair: Pair) -> np.ndarray:
    """Label values as masks, bool (x, y, z, outputs)."""
    masks = [np.isin(labels, values) for values in pair.regions.values()]
    background = [~np.any(masks, axis=0)] if pair.background else []
    return np.stack([*background, *masks], axis=-1)


def score_all(pairs: Iterable[Pair], count: int, workers: int | None) -> list[ScoreRow]:
    """The rows of all pairs, in their order.

    pairs: `count` of them; an iterator may produce one while earlier ones are being scored.
    workers: processes; None: one per core, at most one per pair. Raises what `score` raises.
    """
    if workers is not None and workers < 1:
        raise ConfigError(f"workers: {workers} must be 1 or more")
    processes = min(workers or cores(), count)
    if processes < 2:
        return [row for pair in pairs for row in _logged(pair.case, score(pair))]
    from concurrent.futures import ProcessPoolExecutor
    from multiprocessing import get_context

    # Spawned, as a fork of a process in which TensorFlow has threads may hang.
    with ProcessPoolExecutor(processes, get_context("spawn"), end_with_parent) as pool:
        try:
            futures = [(pair.case, pool.submit(score, pair)) for pair in pairs]
            return [row for case, future in futures for row in _logged(case, future.result())]
        except BaseException:
            pool.shutdown(wait=False, cancel_futures=True)
            raise


def _logged(case: str, rows: list[ScoreRow]) -> list[ScoreRow]:
    log.info("%s: scored", case)
    return rows
