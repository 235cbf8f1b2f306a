"""The lineage of a population: who continued from whom, as sentence, table, file and picture."""

from __future__ import annotations

import csv
import io
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any

from unet3d.files import write_text
from unet3d.plotting import figure, save_png
from unet3d.sweep.format import number_or_dash
from unet3d.sweep.report.plots import plain
from unet3d.sweep.search.population import Step
from unet3d.sweep.sweep_folder import TrialRecord

LINEAGE_CSV = "lineage.csv"
LOGARITHMIC = 10  # the ratio of a setting's values from which its axis is
BEST: dict[str, Any] = {"color": "tab:red", "linewidth": 3}
MEMBER: dict[str, Any] = {"linewidth": 1.2, "alpha": 0.6}
CONTINUES: dict[str, Any] = {"color": "0.5", "linestyle": ":", "linewidth": 1}
OTHERS = ("C0", "C1", "C2", "C4", "C5", "C6", "C8", "C9")  # colours without red and grey


def lineage_headings(steps: Sequence[Step]) -> list[str]:
    """Of `lineage_rows`; [] of a sweep that is no population."""
    if not steps:
        return []
    return ["after epoch", "member", "continues from", *steps[0].values, "trial", "best val/dice"]


def lineage_rows(steps: Sequence[Step], trials: Sequence[TrialRecord]) -> list[list[str]]:
    """A row for each generation of each member."""
    best = {one.number: one.result.best for one in trials}
    return [
        [
            str(step.epoch),
            str(step.member),
            "" if not step.run else "itself" if step.source == step.member else str(step.source),
            *step.values.values(),
            str(step.trial),
            number_or_dash(best.get(step.trial)),
        ]
        for step in steps
    ]


def ancestry(steps: Sequence[Step], trial: int) -> list[Step]:
    """The steps that led to a trial, the first generation first; [] for one of no population."""
    found: list[Step] = []
    step = next((one for one in steps if one.trial == trial), None)
    while step is not None:
        found.insert(0, step)
        before = (step.generation - 1, step.source)
        step = next((one for one in steps if (one.generation, one.member) == before), None)
    return found


def lineage_sentence(steps: Sequence[Step], trials: Sequence[TrialRecord]) -> str:
    """With which settings the best trial has been trained, epoch by epoch; "" of no population."""
    best = trials[0] if trials else None
    found = ancestry(steps, best.number) if best is not None and best.result.best else []
    parts: list[str] = []
    for at, step in enumerate(found):
        if at and step.values == found[at - 1].values:
            continue
        values = ", ".join(f"{key}={value}" for key, value in step.values.items())
        parts.append(f"{values} from epoch {step.epoch + 1}")
    if not parts or best is None:
        return ""
    return f"Population: trial {best.number} has been trained with {'; '.join(parts)}."


def write_lineage(steps: Sequence[Step], trials: Sequence[TrialRecord], folder: Path) -> None:
    """lineage.csv, the table of `lineage_rows`."""
    text = io.StringIO()
    table = csv.writer(text, lineterminator="\n")
    table.writerow(lineage_headings(steps))
    table.writerows(lineage_rows(steps, trials))
    write_text(folder / LINEAGE_CSV, text.getvalue())


def plot_lineage(results: Sequence[TrialRecord], path: Path, steps: Sequence[Step]) -> Path:
    """A PNG: each setting of each member by epoch; dotted where one continues from another."""
    last = max((e["epoch"] for r in results for e in r.epochs), default=0)
    winner = {(s.generation, s.member) for s in ancestry(steps, results[0].number)}
    by_place = {(step.generation, step.member): step for step in steps}
    keys = list(steps[0].values)
    picture = figure(figsize=(9, 0.6 + 3 * len(keys)), layout="constrained")
    for axis, key in zip(picture.subplots(len(keys), 1, squeeze=False)[:, 0], keys, strict=True):
        for step in steps:
            following = by_place.get((step.generation + 1, step.member))
            end = following.epoch if following else max(last, step.epoch + 1)
            _draw(axis, step, key, end, (step.generation, step.member) in winner)
            source = by_place.get((step.generation - 1, step.source))
            if source is not None and step.source != step.member:
                heights = [float(source.values[key]), float(step.values[key])]
                axis.plot([step.epoch] * 2, heights, **CONTINUES)
        heights = [float(step.values[key]) for step in steps]
        if min(heights) > 0 and max(heights) > LOGARITHMIC * min(heights):
            axis.set_yscale("log")
        axis.set_ylabel(plain(key, 30))
        axis.xaxis.get_major_locator().set_params(integer=True)
        axis.grid(alpha=0.3)
    axis.set_xlabel("epoch")
    picture.legend(handles=_legend(), loc="outside upper right", ncols=3, fontsize="small")
    return save_png(picture, path)


def _legend() -> list[Any]:
    from matplotlib.lines import Line2D

    return [
        Line2D([], [], **BEST, label="the best and what it came from"),
        Line2D([], [], **MEMBER, color=OTHERS[0], label="another member"),
        Line2D([], [], **CONTINUES, label="continues from another's weights"),
    ]


def _draw(axis: Any, step: Step, key: str, end: int, best: bool) -> None:
    height = float(step.values[key])
    style = BEST if best else {**MEMBER, "color": OTHERS[step.member % len(OTHERS)]}
    axis.plot([step.epoch, end], [height, height], solid_capstyle="butt", **style)


def lineage_plot(steps: Sequence[Step]) -> partial[Path]:
    """`plot_lineage` for a report."""
    return partial(plot_lineage, steps=steps)
