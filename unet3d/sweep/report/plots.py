"""The pictures of a sweep's report: learning curves, parallel coordinates, importance."""

from __future__ import annotations

import math
from collections.abc import Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any

from unet3d.plotting import figure, save_png
from unet3d.sweep.report.parameters import (
    LeftOut,
    Parameter,
    best_of,
    check_comparable,
    finished,
    importance,
    parameters,
    shown_name,
)
from unet3d.sweep.sweep_folder import TrialRecord

NAMED = 8  # trials that have a colour and a place in the legend of the learning curves
CURVE_COLOURS = (
    "tab:red",
    "tab:blue",
    "tab:orange",
    "tab:green",
    "tab:purple",
    "tab:brown",
    "tab:pink",
    "tab:cyan",
)
OTHER_COLOUR = "0.75"
COLOUR_MAP = "viridis_r"  # the best are dark, which stands out on white
FAN = 0.1  # part of an axis over which the lines through one category spread


def plot_learning_curves(results: Sequence[TrialRecord], path: Path) -> Path:
    """A PNG: val/dice and train/loss of each trial by epoch; results: the best first.

    Raises LeftOut if no trial has been validated yet.
    """
    if not any(_points(result, "val/dice") for result in results):
        raise LeftOut("no trial has been validated yet.")
    named = results[:NAMED]
    picture = figure(figsize=(11, 4.2 + 0.24 * math.ceil(len(named) / 2)), layout="constrained")
    for axis, metric in zip(picture.subplots(1, 2), ("val/dice", "train/loss"), strict=True):
        for rank, result in reversed(list(enumerate(results))):
            _curve(axis, _points(result, metric), result, rank)
        axis.set_xlabel("epoch")
        axis.set_title(metric)
        axis.xaxis.get_major_locator().set_params(integer=True)
        axis.grid(alpha=0.3)
        if metric == "val/dice":
            _mark_best(axis, results[0])
    lines = {line.get_label(): line for line in picture.axes[0].lines}
    labels = [label for result in named if (label := _label(result)) in lines]
    handles = [lines[label] for label in labels]
    picture.legend(handles, labels, loc="outside lower center", ncols=2, frameon=False, fontsize=9)
    return save_png(picture, path)


def _curve(axis: Any, points: list[tuple[int, float]], result: TrialRecord, rank: int) -> None:
    if not points:
        return
    known = rank < NAMED
    axis.plot(
        *zip(*points, strict=True),
        color=CURVE_COLOURS[rank] if known else OTHER_COLOUR,
        linewidth=2.6 if rank == 0 else 1.2 if known else 0.8,
        linestyle="--" if result.result.state == "pruned" else "-",
        marker="." if len(points) == 1 else "",
        label=_label(result) if known else "_other",
        zorder=3 if rank == 0 else 2 if known else 1,
    )


def _mark_best(axis: Any, best: TrialRecord) -> None:
    """Put a point and the value at the best epoch of the best trial."""
    value = best_of(best)
    if value is None or not best.result.best_epoch:
        return
    at = best.result.best_epoch
    axis.plot([at], [value], "o", color=CURVE_COLOURS[0], markersize=6, label="_best", zorder=4)
    low, high = axis.get_ylim()
    axis.set_ylim(low, high + 0.1 * (high - low))  # makes room for the text
    left, right = axis.get_xlim()
    side = "right" if at > (left + right) / 2 else "left"
    axis.annotate(
        f"trial {best.number}: {value:.4f}",
        (at, value),
        xytext=(0, 8),
        textcoords="offset points",
        ha=side,
        color=CURVE_COLOURS[0],
        weight="bold",
        bbox={"facecolor": "white", "edgecolor": "none", "alpha": 0.7, "pad": 1},
        zorder=5,
    )


def _points(result: TrialRecord, metric: str) -> list[tuple[int, float]]:
    """(epoch, value) wherever the metric is a finite number."""
    pairs = [(r["epoch"], r["metrics"].get(metric)) for r in result.epochs]
    return [(epoch, value) for epoch, value in pairs if value is not None and math.isfinite(value)]


def _label(result: TrialRecord) -> str:
    state = "" if result.result.state == "finished" else f" [{result.result.state}]"
    return f"trial {result.number}: {plain(shown_name(result), 64)}{state}"


def plot_parallel_coordinates(results: Sequence[TrialRecord], path: Path) -> Path:
    """A PNG: a line for each trial across an axis for each parameter; the last axis is val/dice.

    Raises LeftOut if no finished trials can be compared.
    """
    from matplotlib import colormaps
    from matplotlib.cm import ScalarMappable
    from matplotlib.colors import Normalize

    check_comparable(results)
    drawn = [r for r in results if best_of(r) is not None and r.result.over]
    values = [best_of(r) or 0.0 for r in drawn]
    axes = [*parameters(drawn), Parameter("val/dice", tuple(map(repr, values)), linear=True)]
    scale, colours = Normalize(min(values), max(values)), colormaps[COLOUR_MAP]
    picture = figure(figsize=(max(7.0, 2.1 * len(axes) + 1.2), 5.2), layout="constrained")
    axis = picture.subplots()
    ends = axes[-1].heights()
    columns = [_fanned(p, ends) for p in axes]
    for trial in reversed(range(len(drawn))):  # the best are drawn last, on top
        axis.add_patch(
            _line(
                [column[trial] for column in columns],
                color=colours(float(scale(values[trial]))),
                linewidth=3.0 if trial == 0 else 1.4,
                linestyle="--" if drawn[trial].result.state == "pruned" else "-",
                alpha=1.0 if trial == 0 else 0.85,
            )
        )
    for place, parameter in enumerate(axes):
        _draw_axis(axis, place, parameter, "right" if parameter is axes[-1] else "left")
    axis.set_xlim(-0.3, len(axes) - 0.75)
    axis.set_ylim(-0.07, 1.07)
    axis.set_axis_off()
    bar = ScalarMappable(scale, colours)
    picture.colorbar(bar, ax=axis, label="val/dice", aspect=30, pad=0.01)
    return save_png(picture, path)


def _fanned(parameter: Parameter, ends: list[float]) -> list[float]:
    """The trials' heights on an axis; those of one category are spread by their val/dice."""
    heights = parameter.heights()
    if parameter.numeric:
        return heights
    return [height + FAN * (end - 0.5) for height, end in zip(heights, ends, strict=True)]


def _line(heights: list[float], **style: Any) -> Any:
    """A curve that is level at each axis, so that the eye can follow it."""
    from matplotlib.patches import PathPatch
    from matplotlib.path import Path as Curve

    points, codes = [(0.0, heights[0])], [Curve.MOVETO]
    for place, (left, right) in enumerate(pairwise(heights)):
        points += [(place + 0.4, left), (place + 0.6, right), (place + 1.0, right)]
        codes += [Curve.CURVE4] * 3
    return PathPatch(Curve(points, codes), fill=False, capstyle="round", **style)


def _draw_axis(axis: Any, place: int, parameter: Parameter, side: str) -> None:
    """Draw a vertical axis at x = place, with its name above and its ticks on `side`."""
    style: dict[str, Any] = {"color": "0.2", "linewidth": 1.2, "zorder": 3}
    outwards = 1 if side == "right" else -1
    axis.plot([place, place], [-0.06, 1.06], **style)
    heading = plain(parameter.name, 26) + ("\n(log)" if parameter.logarithmic else "")
    axis.text(place, 1.09, heading, ha="center", va="bottom", weight="bold", fontsize=9.5)
    for height, text in parameter.ticks():
        axis.plot([place, place + 0.02 * outwards], [height, height], **style)
        axis.text(
            place + 0.04 * outwards,
            height,
            plain(text, 18),
            ha="left" if side == "right" else "right",
            va="center",
            fontsize=8.5,
            bbox={"facecolor": "white", "edgecolor": "none", "alpha": 0.8, "pad": 0.8},
            zorder=4,
        )


def plot_importance(results: Sequence[TrialRecord], path: Path) -> Path:
    """A PNG: how much of the variance of val/dice each parameter explains.

    Raises LeftOut if no finished trials can be compared.
    """
    check_comparable(results)
    compared = finished(results)
    shares = importance(compared)
    picture = figure(figsize=(7.5, 1.3 + 0.42 * len(shares)), layout="constrained")
    axis = picture.subplots()
    names = list(reversed(shares))  # the greatest on top
    bars = axis.barh(range(len(names)), [shares[name] for name in names], height=0.6)
    axis.set_yticks(range(len(names)), [plain(name, 40) for name in names])
    axis.bar_label(bars, fmt="{:.2f}", padding=4)
    axis.set_xlim(0, 1.1 * max(shares.values()))
    axis.set_xlabel(f"share of the variance of val/dice over {len(compared)} trials (fANOVA)")
    axis.spines[["top", "right"]].set_visible(False)
    return save_png(picture, path)


def plain(text: str, length: int) -> str:
    """A text cut to one short line, whose dollar signs do not begin a formula in matplotlib."""
    line = " ".join(text.split())
    short = line if len(line) <= length else line[: length - 1] + "…"
    return short.replace("$", r"\$")
