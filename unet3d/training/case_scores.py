"""The Dice of each validation case with a run's best weights, kept in the run's folder."""

from __future__ import annotations

import csv
import io
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from unet3d.files import read_text, write_text

if TYPE_CHECKING:
    from unet3d.sampling.targets import Targets
    from unet3d.training.validate import CaseResult


def write_case_scores(
    path: Path, epoch: int, results: Sequence[CaseResult], targets: Targets
) -> None:
    """Write a row for each case: its loss, its Dice as it counts in val/dice, that of each output.

    epoch: that the weights are of.
    """
    text = io.StringIO()
    rows = csv.writer(text, lineterminator="\n")
    rows.writerow(["case", "epoch", "loss", "dice", *(f"dice_{name}" for name in targets.names)])
    for result in results:
        counted = result.dice[1:] if targets.exclusive else result.dice
        figures = (result.loss, np.mean(counted), *result.dice)
        rows.writerow([result.case, epoch, *(repr(float(figure)) for figure in figures)])
    write_text(path, text.getvalue())


def read_case_scores(path: Path) -> dict[str, dict[str, float]]:
    """By case, what `write_case_scores` has written, but the epoch; {} of a run that has not."""
    text = read_text(path)
    if text is None:
        return {}
    found = {}
    try:
        for row in csv.DictReader(io.StringIO(text)):
            case = row.pop("case")
            found[case] = {name: float(value) for name, value in row.items() if name != "epoch"}
    except (KeyError, TypeError, ValueError):  # written by something else
        return {}
    return found
