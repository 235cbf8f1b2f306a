"""The HTML page of a sweep: its pictures are inside, and it needs no network."""

from __future__ import annotations

import base64
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from unet3d.html import render
from unet3d.sweep.format import clock, last_line, number_or_dash, shown
from unet3d.sweep.report.configuration_table import HEADINGS, cells
from unet3d.sweep.report.lineage import lineage_headings, lineage_rows
from unet3d.sweep.report.parameters import MISSING, best_of, parameter_names, shown_name
from unet3d.sweep.report.results import at_best, counted, own_metrics
from unet3d.sweep.search.population import Step
from unet3d.sweep.sweep_folder import TrialRecord
from unet3d.sweep.verdict.verdict import Verdict

STATES = ("finished", "pruned", "stopped", "failed", "open")  # in the order of the counts
ERROR_LENGTH = 160


@dataclass(frozen=True)
class Picture:
    """A PNG on the page. reason: a sentence that replaces it where it could not be drawn."""

    heading: str
    caption: str
    path: Path
    reason: str = ""

    def base64(self) -> str:
        """The file's bytes, for a data: URL."""
        return base64.b64encode(self.path.read_bytes()).decode("ascii")


@dataclass(frozen=True)
class Cell:
    """A cell of the table. key: what it is sorted by, if not its text; kind: its CSS class."""

    text: str
    key: str = ""
    kind: str = ""
    title: str = ""


def page(
    name: str,
    command: str,
    results: Sequence[TrialRecord],
    pictures: Sequence[Picture],
    said: Sequence[str] = (),
    verdict: Verdict | None = None,
    lineage: Sequence[Step] = (),
) -> str:
    """The HTML of a sweep; results: the best first; said: sentences on what it took.

    lineage: of a population.
    """
    names, own = parameter_names(results), own_metrics(results)
    return render(
        "sweep/report/report.html",
        name=name,
        command=command,
        trials="1 trial" if len(results) == 1 else f"{len(results)} trials",
        counts=_counts(results),
        best=_best(results),
        answer=_plus_minus(verdict.answer) if verdict else "",
        method=[_plus_minus(line) for line in verdict.method] if verdict else [],
        configuration_headings=HEADINGS,
        configurations=_configurations(verdict),
        lineage_headings=lineage_headings(lineage),
        lineage=[[Cell(text) for text in row] for row in lineage_rows(lineage, results)],
        headings=_headings(names, own),
        rows=[_row(result, names, own) for result in results],
        pictures=pictures,
        said=said,
    )


def _counts(results: Sequence[TrialRecord]) -> list[tuple[str, int]]:
    """How many trials are in each state."""
    counts = counted(result.result for result in results)
    order = [*STATES, *sorted(set(counts) - set(STATES))]
    return [(state, counts[state]) for state in order if state in counts]


def _best(results: Sequence[TrialRecord]) -> dict[str, object] | None:
    """The best trial, None before one has a val/dice."""
    if not results or best_of(results[0]) is None:
        return None
    best = results[0]
    return {"result": best, "name": shown_name(best), "dice": number_or_dash(best.result.best)}


def _configurations(verdict: Verdict | None) -> list[list[Cell]]:
    """A row for each configuration, the best first."""
    if verdict is None or not verdict.has_intervals:
        return []
    kinds = ("", *["number"] * (len(HEADINGS) - 2), "")
    return [
        [Cell(text, kind=kind) for text, kind in zip(cells(row), kinds, strict=True)]
        for row in verdict.rows
    ]


def _plus_minus(text: str) -> str:
    return text.replace("+-", "±")


def _headings(names: Sequence[str], own: Sequence[str]) -> list[str]:
    results = ["state", "best val/dice", *own, "best epoch", "epochs", "time"]
    return ["trial", *names, *results, "attempts", "run id", "error"]


def _row(result: TrialRecord, names: Sequence[str], own: Sequence[str]) -> list[Cell]:
    ended, best = result.result, best_of(result)
    error = last_line(ended.error)
    short = error if len(error) <= ERROR_LENGTH else f"{error[: ERROR_LENGTH - 1]}…"
    return [
        Cell(str(result.number), kind="number"),
        *(_value(result.swept.get(name, MISSING)) for name in names),
        Cell(ended.state, kind=f"state {ended.state}"),
        _number(best),
        *map(_number, at_best(result, own)),
        Cell(str(ended.best_epoch) if best is not None else MISSING, kind="number"),
        Cell(str(ended.epochs), kind="number"),
        Cell(clock(ended.seconds), key=repr(ended.seconds), kind="number"),
        Cell(str(ended.attempts), kind="number"),
        Cell(ended.run_id[:8], key=ended.run_id, kind="id", title=ended.run_id),
        Cell(short, kind="error", title=error if short != error else ""),
    ]


def _number(value: float | None) -> Cell:
    key = MISSING if value is None else repr(value)
    return Cell(number_or_dash(value), key=key, kind="number")


def _value(value: str) -> Cell:
    short = shown(value)
    return Cell(short) if short == value else Cell(short, key=value, title=value)
