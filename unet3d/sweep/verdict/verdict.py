"""What a sweep has found: its configurations compared, in numbers and in a sentence."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from unet3d.sweep.scores import ScoreTable, score_table
from unet3d.sweep.search.race import Race
from unet3d.sweep.statistics.comparison import LEVEL, Against, compare, paired
from unet3d.sweep.statistics.estimate import CASES, NOTHING, Estimate, estimate
from unet3d.sweep.statistics.runs_needed import more_seeds
from unet3d.sweep.sweep_folder import TrialRecord
from unet3d.sweep.verdict.compared import Compared
from unet3d.sweep.verdict.text import answer, method

AFTER_A_RACE = 2  # what each p counts for, as half of the level was for the race itself


@dataclass(frozen=True)
class Verdict:
    """rows: the best first; answer: one sentence; method: sentences on how it was computed."""

    rows: tuple[Compared, ...]
    table: ScoreTable
    answer: str
    method: tuple[str, ...]

    @property
    def has_intervals(self) -> bool:
        """Whether the configurations say more than their trials alone."""
        return any(row.estimate.basis != NOTHING for row in self.rows)


def verdict(
    trials: Sequence[TrialRecord], output_dir: str, race: Race | None = None
) -> Verdict | None:
    """Compare the configurations of a sweep; None before one of their trials has finished.

    race: that the sweep has been, if any; whom it dropped is not tested again.
    """
    table = score_table(trials, output_dir)
    if not table.configurations:
        return None
    dropped = {one.configuration: one for one in race.dropped} if race else {}
    inside = [at for at, one in enumerate(table.configurations) if one.name not in dropped]
    if not inside:  # their results are gone: what is left is compared as it is
        inside, dropped = list(range(len(table.configurations))), {}
    looks = AFTER_A_RACE if race else 1
    comparison = compare([fold[inside] for fold in table.folds], looks)
    best = inside[comparison.best]
    rows = []
    for position in comparison.order:
        at, against = inside[position], comparison.against.get(position)
        more = None
        if against is not None and not against.distinguished:
            differences = [fold[at] - fold[best] for fold in table.folds]
            if against.difference.basis not in (NOTHING, CASES):
                more = more_seeds(differences, against.level)
        rows.append(Compared(table.configurations[at], estimate(_own(table, at)), against, more))
    for at, one in enumerate(table.configurations):
        if race is not None and one.name in dropped:
            lost = dropped[one.name]
            difference = paired(table.folds, at, best) or Estimate(math.nan)
            against = Against(difference, race.adjusted(lost), LEVEL)
            rows.append(Compared(one, estimate(_own(table, at)), against, dropped=lost))
    return Verdict(
        tuple(rows),
        table,
        answer(rows, table),
        tuple(method(rows, table, comparison.tests, LEVEL, race)),
    )


def _own(table: ScoreTable, at: int) -> list[np.ndarray]:
    return [fold[at] for fold in table.folds]
