"""The parameters that a sweep varies, as numbers or categories, for the plots of its report."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

from unet3d.sweep.results import Result
from unet3d.sweep.trial import number, shown

MISSING = "-"  # what stands for a parameter that a trial does not set
MAX_TICKS = 7
MIN_GAP = 0.06  # between texts along an axis of length 1


class LeftOut(Exception):
    """A plot that these trials cannot fill; the sentence says why."""


@dataclass(frozen=True)
class Parameter:
    """A setting that differs among trials. values: as typed, one a trial, in the trials' order.

    linear: numbers are never shown by their logarithms.
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
        """Whether the values are numbers above 0 that span a decade or more."""
        if self.linear or not self.numeric:
            return False
        low, high = min(self._numbers()), max(self._numbers())
        return low > 0 and high >= 10 * low

    @property
    def categories(self) -> list[str]:
        """The different values in order: numbers by size, then words."""
        return sorted(
            set(self.values), key=lambda v: (number(v) is None, number(v) or 0.0, v.lower(), v)
        )

    def places(self) -> list[float]:
        """Each trial's place on the parameter's scale: log10, the number, the category's index."""
        if self.logarithmic:
            return [math.log10(value) for value in self._numbers()]
        if self.numeric:
            return self._numbers()
        index = {value: float(at) for at, value in enumerate(self.categories)}
        return [index[value] for value in self.values]

    def heights(self) -> list[float]:
        """Each trial's place from 0 to 1 along an axis; the middle where there is one value."""
        places = self.places()
        return [_share(place, min(places), max(places)) for place in places]

    def ticks(self) -> list[tuple[float, str]]:
        """(place from 0 to 1, text): the values where there is room, else round numbers."""
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
            (_share(scale(value), scale(low), scale(high)), f"{value:.3g}")
            for value in rounded
            if low <= value <= high
        ]

    def _numbers(self) -> list[float]:
        return [float(value) for value in self.values]


def parameters(results: Sequence[Result]) -> list[Parameter]:
    """What differs among these trials, in the order in which the trials name it."""
    found = [
        Parameter(name, tuple(result.differs.get(name, MISSING) for result in results))
        for name in parameter_names(results)
    ]
    return [parameter for parameter in found if len(set(parameter.values)) > 1]


def parameter_names(results: Sequence[Result]) -> list[str]:
    """The settings that the sweep varies, also where it has tried one value so far."""
    by_number = sorted(results, key=lambda result: result.number)
    return list(dict.fromkeys(name for result in by_number for name in result.differs))


def finished(results: Sequence[Result]) -> list[Result]:
    """The trials that went to their end and have a val/dice."""
    return [r for r in results if r.ended.state == "finished" and best_of(r) is not None]


def check_comparable(results: Sequence[Result]) -> None:
    """LeftOut unless two finished trials differ in val/dice and in a parameter."""
    compared = finished(results)
    if len({best_of(result) for result in compared}) < 2:
        raise LeftOut("fewer than two trials have finished with different val/dice.")
    if not parameters(compared):
        raise LeftOut("no parameter differs among the finished trials.")


def best_of(result: Result) -> float | None:
    """The trial's best val/dice, None too where it is not a number."""
    best = result.ended.best
    return best if best is not None and math.isfinite(best) else None


def shown_name(result: Result) -> str:
    """The trial's name with its values for the eye."""
    name = result.name
    for value in result.differs.values():
        name = name.replace(f"={value}", f"={shown(value)}")
    return name


def _share(place: float, low: float, high: float) -> float:
    return (place - low) / (high - low) if high > low else 0.5


def _tick(value: str) -> str:
    """A number to three digits, a word as it is."""
    size = number(value)
    return value if size is None else f"{size:.3g}"
