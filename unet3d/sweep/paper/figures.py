"""The figures of a paper: critical differences, regions and cases, readable in a column."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from unet3d.plotting import COLOURS, figure
from unet3d.sweep.paper.tables import region_estimate
from unet3d.sweep.report.plots import plain
from unet3d.sweep.scores import ScoreTable
from unet3d.sweep.statistics.comparison import LEVEL, holm, paired
from unet3d.sweep.verdict.verdict import Verdict

MOST = 12  # configurations in a figure, the best ones
WIDTH, POINTS = 6.9, 9  # inches of a page's two columns; of the text
STYLE: Any = {
    "font.size": POINTS,
    "axes.titlesize": POINTS,
    "legend.fontsize": POINTS - 1,
    "pdf.fonttype": 42,  # TrueType: text that can be searched and edited
    "svg.fonttype": "none",
    "axes.spines.top": False,
    "axes.spines.right": False,
}


def save_figure(picture: Any, path: Path) -> list[Path]:
    """Write `path`.pdf and `path`.svg, each in one piece."""
    import matplotlib as mpl

    path.parent.mkdir(parents=True, exist_ok=True)
    written = []
    for kind, metadata in (("pdf", {"CreationDate": None}), ("svg", {"Date": None})):
        target = path.with_suffix(f".{kind}")
        temporary = target.with_name(f".{target.name}")
        with mpl.rc_context(STYLE):
            picture.savefig(temporary, format=kind, metadata=metadata)
        written.append(temporary.replace(target))
    return written


def _names(found: Verdict, count: int) -> list[str]:
    return [plain(row.name, 44) for row in found.rows[:count]]


def _order(found: Verdict) -> list[int]:
    """Where the best configurations are in the arrays of the verdict's table."""
    every = found.table.configurations
    return [every.index(row.configuration) for row in found.rows[:MOST]]


def average_ranks(found: Verdict) -> tuple[np.ndarray, int]:
    """The mean rank of each of the best configurations over cases, and the number of these.

    Rank 1 is the highest Dice. Only cases that all of them have; seeds are averaged first, and ties
    share their ranks.
    """
    from scipy.stats import rankdata

    order, ranks = _order(found), []
    for fold in found.table.folds:
        there = np.isfinite(fold[order])
        counts = there.sum(axis=1)
        scores = np.where(there, fold[order], 0.0).sum(axis=1) / np.maximum(counts, 1)
        for case in np.flatnonzero((counts > 0).all(axis=0)):
            ranks.append(rankdata(-scores[:, case]))
    return (np.mean(ranks, axis=0) if ranks else np.array([])), len(ranks)


def not_distinguished(found: Verdict) -> np.ndarray:
    """Whether each pair of the best configurations cannot be distinguished (boolean, symmetric).

    By the same paired tests as the table's, corrected by Holm for all pairs shown.
    """
    order = _order(found)
    pairs = [(a, b) for a in range(len(order)) for b in range(a)]
    each = [paired(found.table.folds, order[a], order[b]) for a, b in pairs]
    adjusted, _ = holm([1.0 if one is None else one.p for one in each])
    alike: np.ndarray = np.eye(len(order), dtype=bool)
    for (a, b), p in zip(pairs, adjusted, strict=True):
        alike[a, b] = alike[b, a] = p > LEVEL
    return alike


def cliques(alike: np.ndarray, order: Sequence[int]) -> list[tuple[int, int]]:
    """The longest runs (first, last) along `order` in which all pairs are alike."""
    found: list[tuple[int, int]] = []
    for first in range(len(order)):
        last = first
        while last + 1 < len(order) and all(
            alike[order[last + 1], order[i]] for i in range(first, last + 1)
        ):
            last += 1
        if last > first and not any(a <= first and last <= b for a, b in found):
            found.append((first, last))
    return found


def plot_critical_difference(found: Verdict) -> Any:
    """Mean ranks over cases, with a bar over those that cannot be distinguished (Demsar 2006).

    Returns a figure, or a sentence that says why there is none.
    """
    ranks, cases = average_ranks(found)
    if len(ranks) < 2 or not found.table.by_case:
        return "it needs two configurations, and runs that have kept the Dice of each case"
    order = [int(i) for i in np.argsort(ranks, kind="stable")]
    bars, names = cliques(not_distinguished(found), order), _names(found, MOST)
    half = math.ceil(len(order) / 2)
    height = 0.9 + 0.14 * len(bars) + 0.24 * half
    picture = figure(figsize=(WIDTH, height), layout="constrained")
    axis = picture.subplots()
    low, high = 1, len(order)
    axis.set_xlim(low - 0.62 * (high - low) - 0.3, high + 0.62 * (high - low) + 0.3)
    top = 0.14 * (len(bars) + 1)
    axis.set_ylim(-0.24 * half - top, 0.42)
    axis.set_axis_off()
    text: dict[str, Any] = {"fontsize": POINTS, "va": "center"}
    axis.plot([low, high], [0, 0], color="black", linewidth=1)
    for rank in range(low, high + 1):
        axis.plot([rank, rank], [0, 0.07], color="black", linewidth=1)
        axis.text(rank, 0.16, str(rank), ha="center", **text)
    axis.text((low + high) / 2, 0.34, f"average rank over {cases} cases", ha="center", **text)
    for number, (first, last) in enumerate(bars):
        ends = [ranks[order[first]] - 0.03, ranks[order[last]] + 0.03]
        axis.plot(ends, [-0.14 * (number + 1)] * 2, color="tab:red", linewidth=3.5)
    for place, at in enumerate(order):
        left = place < half
        row = place if left else len(order) - 1 - place
        y, edge = -top - 0.24 * (row + 0.5), low - 0.08 if left else high + 0.08
        axis.plot([ranks[at], ranks[at], edge], [0, y, y], color="0.35", linewidth=0.8)
        label = f"{names[at]} ({ranks[at]:.2f})"
        axis.text(
            edge - 0.04 if left else edge + 0.04, y, label, ha="right" if left else "left", **text
        )
    return picture


def plot_regions(found: Verdict, regions: Mapping[str, ScoreTable]) -> Any:
    """Mean and 95 % interval of each region and configuration; a figure, or why there is none."""
    if not regions:
        return "the runs have not kept the Dice of each case"
    rows, names = found.rows[:MOST], _names(found, MOST)
    height = 0.9 + (0.1 + 0.13 * len(regions)) * len(rows)
    picture = figure(figsize=(WIDTH, height), layout="constrained")
    axis = picture.subplots()
    for number, (name, table) in enumerate(regions.items()):
        each = [region_estimate(found, row, table) for row in rows]
        shift = (number - (len(regions) - 1) / 2) * 0.6 / max(1, len(regions))
        half = [one.half_width() if math.isfinite(one.half_width()) else 0.0 for one in each]
        axis.errorbar(
            [one.mean for one in each],
            np.arange(len(rows)) + shift,
            xerr=half,
            fmt="o",
            markersize=4,
            capsize=2,
            color=COLOURS[number % len(COLOURS)],
            label=plain(name, 30),
        )
    _label_rows(axis, names)
    axis.set_xlabel("validation Dice, mean and 95 % interval")
    picture.legend(loc="outside upper center", ncols=4, frameon=False)
    return picture


def plot_cases(found: Verdict) -> Any:
    """The Dice of each case, mean over seeds, with quartiles; a figure, or why there is none."""
    if not found.table.by_case:
        return "the runs have not kept the Dice of each case"
    order, names = _order(found), _names(found, MOST)
    picture = figure(figsize=(WIDTH, 0.9 + 0.34 * len(order)), layout="constrained")
    axis = picture.subplots()
    jitter = np.random.default_rng(0)
    for row, at in enumerate(order):
        parts = []
        for fold in found.table.folds:
            there = np.isfinite(fold[at])
            known = there.any(axis=0)
            sums = np.where(there, fold[at], 0.0).sum(axis=0)
            parts.append(sums[known] / there.sum(axis=0)[known])
        values = np.concatenate(parts)
        heights = row + jitter.uniform(-0.18, 0.18, len(values))
        axis.plot(values, heights, ".", color="0.55", markersize=3, zorder=1)
        low, middle, high = np.percentile(values, (25, 50, 75))
        axis.plot([low, high], [row, row], color="tab:blue", linewidth=5, alpha=0.5, zorder=2)
        axis.plot(
            [middle], [row], "|", color="tab:blue", markersize=11, markeredgewidth=2, zorder=3
        )
    _label_rows(axis, names)
    axis.set_xlabel("validation Dice of each case; median and quartiles")
    return picture


def _label_rows(axis: Any, names: Sequence[str]) -> None:
    axis.set_yticks(range(len(names)), names, fontsize=POINTS)
    axis.set_ylim(len(names) - 0.4, -0.6)
    axis.tick_params(axis="x", labelsize=POINTS)
    axis.xaxis.label.set_size(POINTS)
    axis.grid(axis="x", alpha=0.3)
    axis.spines[["top", "right"]].set_visible(False)
