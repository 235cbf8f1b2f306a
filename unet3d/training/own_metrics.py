"""Metrics of the user's own, `validation.metrics`: what they get, and what they must return."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from unet3d.config.target import call_target, find_target
from unet3d.errors import ConfigError, in_a_line
from unet3d.sampling.targets import Targets

log = logging.getLogger(__name__)
KEY = "validation.metrics"
TARGET = "_target_"
SIDE = 8  # voxels of the volume that a metric is tried on


@dataclass(frozen=True)
class OwnMetric:
    """A function, and its values for a case: one, or with `of_outputs` one for each output."""

    name: str
    target: str
    params: dict[str, Any]
    of_outputs: bool = False
    setting: str = KEY

    @property
    def key(self) -> str:
        return f"{self.setting}.{self.name}"


def own_metrics(settings: Mapping[str, Any] | None, key: str = KEY) -> list[OwnMetric]:
    """The metrics of the setting `key`, not called yet. Raises ConfigError for one not found."""
    found = []
    for name, given in (settings or {}).items():
        params = dict(given) if isinstance(given, Mapping) else {TARGET: given}
        metric = OwnMetric(name, params.pop(TARGET), params, setting=key)
        find_target(metric.key, metric.target)
        found.append(metric)
    return found


def checked_metrics(
    settings: Mapping[str, Any] | None, targets: Targets, key: str = KEY
) -> list[OwnMetric]:
    """`own_metrics`, each called on two small volumes, which shows what it returns.

    Raises ConfigError, with what it returned and what is expected, where that is something else.
    """
    outputs = len(targets.names)
    checked = []
    for metric in own_metrics(settings, key):
        of_outputs = set()
        for filled in (True, False):  # an empty volume is what a network predicts at first
            truth: np.ndarray = np.zeros((SIDE, SIDE, SIDE, outputs), bool)
            truth[2:5, 2:6, 2:7] = filled
            prediction = np.roll(truth, 1, axis=0)
            value = call_target(
                metric.key,
                metric.target,
                metric.params,
                truth,
                prediction,
                spacing=(1.0, 1.0, 1.0),
            )
            of_outputs.add(len(_values(metric, value, outputs)) > 1)
        checked.append(replace(metric, of_outputs=True in of_outputs))
    return checked


def case_values(
    metrics: Sequence[OwnMetric],
    case: str,
    truth: np.ndarray,
    prediction: np.ndarray,
    spacing: tuple[float, float, float],
) -> np.ndarray:
    """The values of all metrics for a case, in a row; NaN, with a warning, of one that fails.

    truth, prediction: bool (x, y, z, outputs); spacing: mm.
    """
    outputs = truth.shape[-1]
    row: list[float] = []
    for metric in metrics:
        wanted = outputs if metric.of_outputs else 1
        try:
            function = find_target(metric.key, metric.target)
            value = function(truth, prediction, spacing=spacing, **metric.params)
            values = _values(metric, value, outputs)
            row += values * wanted if len(values) == 1 else values[:wanted]
        except Exception as error:  # whatever code of the user's own raises
            log.warning("%s: failed on case %s (%s)", metric.key, case, in_a_line(error))
            row += [np.nan] * wanted
    return np.array(row)


def columns(metrics: Sequence[OwnMetric], outputs: int) -> int:
    """The length of the rows of `case_values`."""
    return sum(outputs if metric.of_outputs else 1 for metric in metrics)


def mean_values(
    metrics: Sequence[OwnMetric], rows: np.ndarray, targets: Targets
) -> dict[str, float]:
    """val/<name>, and with a value for each output val/<name>_<output>: means over the cases.

    rows: (cases, columns). NaN stands for a case that has no value; a metric without any has none.
    A softmax's background does not count in val/<name>.
    """
    found, start = {}, 0
    for metric in metrics:
        width = len(targets.names) if metric.of_outputs else 1
        means = [_mean(column) for column in rows[:, start : start + width].T]
        start += width
        if metric.of_outputs:
            counted = means[1:] if targets.exclusive else means
            named = zip(targets.names, means, strict=True)
            found[f"val/{metric.name}"] = _mean(np.array(counted))
            found |= {f"val/{metric.name}_{output}": value for output, value in named}
        else:
            found[f"val/{metric.name}"] = means[0]
    return {key: value for key, value in found.items() if np.isfinite(value)}


def _mean(values: np.ndarray) -> float:
    known = values[~np.isnan(values)]
    return float(known.mean()) if known.size else float("nan")


def _values(metric: OwnMetric, value: Any, outputs: int) -> list[float]:
    try:
        values = np.asarray(value, np.float64)
    except (TypeError, ValueError):
        values = np.empty((0, 0))
    if values.ndim > 1 or values.size not in (1, outputs):
        shown = f"{type(value).__name__}{f' of shape {values.shape}' if values.size else ''}"
        raise ConfigError(
            f"{metric.key}: {metric.target} returned {shown}; a number for the case is expected, "
            f"or one for each of the {outputs} outputs"
        )
    return values.reshape(-1).tolist()
