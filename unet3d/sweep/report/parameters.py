"""The parameters that a sweep varies, as numbers or categories, and how much each matters."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

from unet3d.sweep.format import number, shown
from unet3d.sweep.sweep_folder import TrialRecord

MISSING = "-"  # stands for a parameter that a trial does not set
MAX_TICKS = 7
MIN_GAP = 0.06  # between texts along an axis of length 1
SEED = 0  # of the forest, so that the same trials give the same importance


class LeftOut(Exception):
    """A picture that these trials cannot fill; the message is a sentence that says why."""


@dataclass(frozen=True)
class Parameter:
    """A setting that differs among trials.

    values: as typed, one for each trial, in the order of the trials; linear: never on a log scale.
    """

    name: str
    values: tuple[str, ...]
    linear: bool = False

    @property
    def numeric(self) -> bool:
        """Whether all values are finite numbers."""
        return all(number(value) is not None for value in self.values)

    @property
    def logarithmic(self) -> bool:
        """Whether the values are numbers above 0 that span at least a decade."""
        if self.linear or not self.numeric:
            return False
        low, high = min(self._numbers()), max(self._numbers())
        return low > 0 and high >= 10 * low

    @property
    def categories(self) -> list[str]:
        """The distinct values in order: numbers by size, then words."""
        return sorted(
            set(self.values), key=lambda v: (number(v) is None, number(v) or 0.0, v.lower(), v)
        )

    def positions(self) -> list[float]:
        """Each trial on the parameter's scale: log10, the number, or the index of the category."""
        if self.logarithmic:
            return [math.log10(value) for value in self._numbers()]
        if self.numeric:
            return self._numbers()
        index = {value: float(at) for at, value in enumerate(self.categories)}
        return [index[value] for value in self.values]

    def heights(self) -> list[float]:
        """Each trial's height along the axis, from 0 to 1; 0.5 where all values are equal."""
        positions = self.positions()
        low, high = min(positions), max(positions)
        return [_height(position, low, high) for position in positions]

    def ticks(self) -> list[tuple[float, str]]:
        """(height, text): the values themselves where there is room, else round numbers."""
        texts = {
            height: _tick(value) for value, height in zip(self.values, self.heights(), strict=True)
        }
        heights = sorted(texts)
        gap = min((b - a for a, b in pairwise(heights)), default=1.0)
        if self.numeric and (len(heights) > MAX_TICKS or gap < MIN_GAP):
            return self._round_ticks()
        return [(height, texts[height]) for height in heights]

    def _round_ticks(self) -> list[tuple[float, str]]:
        from matplotlib.ticker import LogLocator, MaxNLocator

        low, high = min(self._numbers()), max(self._numbers())
        if self.logarithmic:
            decades = math.log10(high / low)
            steps = (1.0, 2.0, 5.0) if decades < 2 else (1.0, 3.0) if decades < 4 else (1.0,)
            rounded = LogLocator(subs=steps, numticks=2 * MAX_TICKS).tick_values(low, high)
        else:
            rounded = MaxNLocator(MAX_TICKS - 2).tick_values(low, high)
        scale = math.log10 if self.logarithmic else float
        return [
            (_height(scale(value), scale(low), scale(high)), f"{value:.3g}")
            for value in rounded
            if low <= value <= high
        ]

    def _numbers(self) -> list[float]:
        return [float(value) for value in self.values]


def parameters(results: Sequence[TrialRecord]) -> list[Parameter]:
    """The settings that differ among these trials, in the order in which the trials name them."""
    found = [
        Parameter(name, tuple(result.swept.get(name, MISSING) for result in results))
        for name in parameter_names(results)
    ]
    return [parameter for parameter in found if len(set(parameter.values)) > 1]


def parameter_names(results: Sequence[TrialRecord]) -> list[str]:
    """The settings that the sweep varies, including those with only one value so far."""
    by_number = sorted(results, key=lambda result: result.number)
    return list(dict.fromkeys(name for result in by_number for name in result.swept))


def finished(results: Sequence[TrialRecord]) -> list[TrialRecord]:
    """The trials that ran to their end and have a val/dice."""
    return [r for r in results if r.result.state == "finished" and best_of(r) is not None]


def check_comparable(results: Sequence[TrialRecord]) -> None:
    """Raise LeftOut unless two finished trials differ in val/dice and in a parameter."""
    compared = finished(results)
    if len({best_of(result) for result in compared}) < 2:
        raise LeftOut("fewer than two trials have finished with different val/dice.")
    if not parameters(compared):
        raise LeftOut("no parameter differs among the finished trials.")


def best_of(result: TrialRecord) -> float | None:
    """The trial's best val/dice; None if it has none or one that is not finite."""
    best = result.result.best
    return best if best is not None and math.isfinite(best) else None


def shown_name(result: TrialRecord) -> str:
    """The trial's name with its numbers shortened."""
    name = result.name
    for value in result.swept.values():
        name = name.replace(f"={value}", f"={shown(value)}")
    return name


def _height(position: float, low: float, high: float) -> float:
    return (position - low) / (high - low) if high > low else 0.5


def _tick(value: str) -> str:
    """A number to three digits, a word as it is."""
    size = number(value)
    return value if size is None else f"{size:.3g}"


def importance(results: Sequence[TrialRecord]) -> dict[str, float]:
    """Each varying parameter's share of the variance of val/dice, the greatest first.

    results: trials with at least two different val/dice. The shares add up to 1. The method is
    fANOVA (Hutter et al. 2014), which needs only two trials.
    """
    import optuna

    optuna.logging.set_verbosity(optuna.logging.WARNING)
    varying = parameters(results)
    distributions = {parameter.name: _distribution(parameter) for parameter in varying}
    columns = {parameter.name: _column(parameter) for parameter in varying}
    study = optuna.create_study(direction="maximize")
    for at, result in enumerate(results):
        study.add_trial(
            optuna.trial.create_trial(
                params={name: column[at] for name, column in columns.items()},
                distributions=distributions,
                value=best_of(result),
            )
        )
    return optuna.importance.get_param_importances(
        study, evaluator=optuna.importance.FanovaImportanceEvaluator(seed=SEED)
    )


def _distribution(parameter: Parameter) -> Any:
    from optuna.distributions import CategoricalDistribution, FloatDistribution

    if not parameter.numeric:
        return CategoricalDistribution(parameter.categories)
    # Logarithms are passed as plain numbers: the evaluator weighs a log scale as a linear one.
    return FloatDistribution(min(parameter.positions()), max(parameter.positions()))


def _column(parameter: Parameter) -> list[Any]:
    return parameter.positions() if parameter.numeric else list(parameter.values)
