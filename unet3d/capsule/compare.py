"""Two trainings epoch by epoch: which figures are equal, within a tolerance, or outside of it."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

EQUAL, WITHIN, OUTSIDE = "equal", "within", "outside"
LOSSES, DICE = ("train/loss", "val/loss"), "val/dice"
ROWS = 24  # of the table; the rest is in the file


@dataclass(frozen=True)
class Tolerance:
    """loss: relative to the larger of two losses. dice: absolute."""

    loss: float
    dice: float

    def verdict(self, name: str, before: float, now: float) -> str:
        """How two values of a metric lie to each other."""
        if before == now:
            return EQUAL
        if not (math.isfinite(before) and math.isfinite(now)):
            return OUTSIDE
        difference = abs(before - now)
        if "dice" in name:
            return WITHIN if difference <= self.dice else OUTSIDE
        return WITHIN if difference <= self.loss * max(abs(before), abs(now)) else OUTSIDE


@dataclass(frozen=True)
class Compared:
    """One figure of the run and of what was made again. where: its epoch or case."""

    where: str
    name: str
    before: float
    now: float
    verdict: str


def compare_epochs(
    before: Sequence[Mapping[str, Any]], now: Sequence[Mapping[str, Any]], tolerance: Tolerance
) -> list[Compared]:
    """The losses and Dice of the epochs that both have, in their order."""
    found = []
    for old, new in zip(before, now, strict=False):
        for name in (*LOSSES, DICE):
            if name in old["metrics"]:
                pair = old["metrics"][name], new["metrics"].get(name, math.nan)
                verdict = tolerance.verdict(name, *pair)
                found.append(Compared(str(old["epoch"]), name, *pair, verdict))
    return found


def compare_cases(
    before: Mapping[str, Mapping[str, float]],
    now: Mapping[str, Mapping[str, float]],
    tolerance: Tolerance,
) -> list[Compared]:
    """Loss and Dice of each case."""
    return [
        Compared(case, name, value, new, tolerance.verdict(name, value, new))
        for case, figures in before.items()
        for name, value in figures.items()
        if not math.isnan(new := now.get(case, {}).get(name, math.nan)) or not math.isnan(value)
    ]


def worst(rows: Sequence[Compared]) -> str:
    """The verdict over all rows."""
    verdicts = {row.verdict for row in rows}
    return next((one for one in (OUTSIDE, WITHIN, EQUAL) if one in verdicts), EQUAL)


def summary(rows: Sequence[Compared], names: Sequence[str], tolerance: Tolerance) -> str:
    """How many are what, and the largest difference of each metric."""
    counts = [
        f"{sum(row.verdict == one for row in rows)} {one}" for one in (EQUAL, WITHIN, OUTSIDE)
    ]
    largest = []
    for name in names:
        differences = [abs(row.before - row.now) for row in rows if row.name == name]
        if differences:
            largest.append(f"{name} by at most {max(differences):.2g}")
    return (
        f"{', '.join(counts)}; {', '.join(largest) or 'nothing to compare'} (tolerance: "
        f"{tolerance.loss:g} of a loss, {tolerance.dice:g} of Dice)"
    )


def shown_epochs(rows: Sequence[Compared]) -> list[tuple[str, ...]]:
    """Lines of a table, one an epoch: of many those outside before others, the last ones always."""
    epochs: dict[str, list[Compared]] = {}
    for row in rows:
        epochs.setdefault(row.where, []).append(row)
    chosen = list(epochs)
    if len(chosen) > ROWS:
        outside = [epoch for epoch in chosen if worst(epochs[epoch]) == OUTSIDE][: ROWS // 2]
        kept = {*outside, *chosen[:2], *chosen[-(ROWS - 2 - len(outside)) :]}
        chosen = [epoch for epoch in chosen if epoch in kept]
    lines = []
    for epoch in chosen:
        by_name = {row.name: row for row in epochs[epoch]}
        cells = [
            f"{by_name[name].before:.6g} {by_name[name].now:.6g}" if name in by_name else ""
            for name in (*LOSSES, DICE)
        ]
        lines.append((epoch, *cells, worst(epochs[epoch])))
    return lines
