"""The scores of a sweep as arrays: configurations, folds, seeds and cases."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from unet3d.run_folder import run_folder
from unet3d.sweep.configurations import Configuration, block_of, configurations
from unet3d.sweep.sweep_folder import TrialRecord
from unet3d.training.case_scores import read_case_scores

SAME = 1e-6  # between a trial's val/dice and the mean of its cases


@dataclass(frozen=True)
class ScoreTable:
    """The validation Dice of each configuration that has a finished trial.

    folds: for each fold an array (configurations, seeds, cases), NaN where something is missing.
    by_case: whether these are cases; else the last axis has the one value of the trial.
    """

    configurations: tuple[Configuration, ...]
    folds: tuple[np.ndarray, ...]
    cases: tuple[tuple[str, ...], ...]
    by_case: bool

    @property
    def seeds(self) -> int:
        """The most that a configuration has."""
        return max((fold.shape[1] for fold in self.folds), default=0)

    @property
    def trials(self) -> int:
        """The number of values that there are of whole trials."""
        return int(sum(np.isfinite(fold).any(axis=2).sum() for fold in self.folds))


def score_table(trials: Sequence[TrialRecord], output_dir: str, column: str = "dice") -> ScoreTable:
    """From the finished trials; by case where all of their runs have kept these.

    column: of the runs' tables of cases, dice for what counts in val/dice.
    """
    found = [one for one in configurations(trials) if one.values]
    scored = [
        _Scored(at, *block_of(trial), trial.result.best or 0.0, _cases(trial, output_dir, column))
        for at, one in enumerate(found)
        for trial in one.finished
    ]
    by_case = all(one.cases for one in scored)
    folds, cases = [], []
    for fold in sorted({one.fold for one in scored}, key=_in_order):
        members = [one for one in scored if one.fold == fold]
        seeds = sorted({one.seed for one in members}, key=_in_order)
        names = sorted({case for one in members for case in one.cases}) if by_case else [""]
        array = np.full((len(found), len(seeds), len(names)), math.nan)
        for one in members:
            values = [one.cases.get(case, math.nan) for case in names] if by_case else one.best
            array[one.configuration, seeds.index(one.seed)] = values
        folds.append(array)
        cases.append(tuple(names))
    return ScoreTable(tuple(found), tuple(folds), tuple(cases), by_case)


@dataclass(frozen=True)
class _Scored:
    """A finished trial. configuration: its index; cases: {} where they are not known."""

    configuration: int
    fold: str
    seed: str
    best: float
    cases: dict[str, float]


def _cases(trial: TrialRecord, output_dir: str, column: str) -> dict[str, float]:
    """The trial's Dice of each case; {} where its run has kept none, or of other weights."""
    table = read_case_scores(run_folder(output_dir, trial.result.run_id).case_scores)
    mean = float(np.mean([row["dice"] for row in table.values()])) if table else math.nan
    if not abs(mean - (trial.result.best or 0.0)) < SAME:
        return {}
    return {case: row[column] for case, row in table.items() if column in row}


def _in_order(label: str) -> tuple[int, str]:
    return (int(label), "") if label.isdigit() else (0, label)
