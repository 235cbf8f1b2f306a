"""Metrics of the user's own beside those of `evaluate_masks`: which, and their values of a case."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from unet3d.config.rules import check_metrics
from unet3d.errors import ConfigError
from unet3d.evaluation.region_metrics import METRICS
from unet3d.sampling.targets import Targets
from unet3d.training.own_metrics import OwnMetric, case_values, checked_metrics

log = logging.getLogger(__name__)
KEY = "metrics"  # EvaluateConfig


def chosen_measures(
    typed: Mapping[str, Any] | None, of_run: Mapping[str, Any] | None, targets: Targets
) -> tuple[OwnMetric, ...]:
    """The metrics in `metrics`, or those that the run was validated by, each tried on a volume.

    Raises ConfigError for one of `typed` that cannot be used; one of the run is left out with a
    warning, as its package may be elsewhere.
    """
    check_metrics(typed, KEY)
    if typed is not None:
        return tuple(checked_metrics(typed, targets, KEY))
    found: list[OwnMetric] = []
    for name, given in (of_run or {}).items():
        try:
            found += checked_metrics({name: given}, targets)
        except ConfigError as error:
            log.warning("%s; it is left out of the tables", error)
    return tuple(found)


def own_values(
    measures: Sequence[OwnMetric],
    case: str,
    truth: np.ndarray,
    prediction: np.ndarray,
    spacing: tuple[float, float, float],
) -> list[dict[str, float]]:
    """The values of a case for each output, by name; one of the whole case stands at each.

    truth, prediction: bool (x, y, z, outputs); spacing: mm.
    """
    outputs = truth.shape[-1]
    values = case_values(measures, case, truth, prediction, spacing).tolist()
    rows: list[dict[str, float]] = [{} for _ in range(outputs)]
    for measure in measures:
        width = outputs if measure.of_outputs else 1
        own, values = values[:width], values[width:]
        for row, value in zip(rows, own * (outputs // width), strict=True):
            row[column(measure.name)] = value
    return rows


def column(name: str) -> str:
    """A metric's name in the tables, where `evaluate_masks` may have one of the same name."""
    return f"own_{name}" if name in METRICS else name
