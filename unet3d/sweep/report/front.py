"""The trials of a search with two objectives that none beats in both, as sentence and picture."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from pathlib import Path

from unet3d.plotting import figure, save_png
from unet3d.sweep.report.cost import pareto
from unet3d.sweep.report.parameters import LeftOut
from unet3d.sweep.report.plots import plain
from unet3d.sweep.search.study import cost_of
from unet3d.sweep.sweep_folder import TrialRecord

WORDS = {"hours": "device hours", "parameters": "parameters"}
NAMED = 8  # points of the front that are named in the picture


def front(trials: Sequence[TrialRecord], minimize: str) -> list[TrialRecord]:
    """The finished trials that no other beats in val/dice and in what it took, the cheapest first.

    minimize: as the setting of this name; nothing where it is none.
    """
    over, points = _points(trials, minimize)
    return [over[at] for at in pareto(points)]


def _points(
    trials: Sequence[TrialRecord], minimize: str
) -> tuple[list[TrialRecord], list[tuple[float, float]]]:
    found, points = [], []
    for trial in trials:
        cost, best = cost_of(trial.result, minimize), trial.result.best
        if trial.result.state == "finished" and cost is not None and best is not None:
            found.append(trial)
            points.append((cost, best))
    return found, points


def shown_cost(trial: TrialRecord, minimize: str) -> str:
    """As in "5,661 parameters" or "0.25 device hours"."""
    cost = cost_of(trial.result, minimize) or 0.0
    number = f"{cost:,.0f}" if minimize == "parameters" else f"{cost:.3g}"
    return f"{number} {WORDS[minimize]}"


def front_sentence(trials: Sequence[TrialRecord], minimize: str) -> str:
    """The front in words; "" where val/dice alone counts or no trial has finished."""
    members = front(trials, minimize)
    if not members:
        return ""
    listed = "; ".join(
        f"trial {one.number} ({one.name}): {one.result.best:.4f} with {shown_cost(one, minimize)}"
        for one in members
    )
    return f"Pareto front, which no trial beats in both val/dice and {WORDS[minimize]}: {listed}."


def plot_front(results: Sequence[TrialRecord], path: Path, minimize: str = "none") -> Path:
    """A PNG of all finished trials by both objectives, the front in red.

    Raises LeftOut of a sweep with one objective, or without a finished trial.
    """
    if minimize == "none":
        raise LeftOut("the sweep had one objective, val/dice (sweep.minimize).")
    over, points = _points(results, minimize)
    if not points:
        raise LeftOut("no trial has finished yet.")
    at = pareto(points)
    picture = figure(figsize=(8, 4.6), layout="constrained")
    axis = picture.subplots()
    axis.plot(*zip(*points, strict=True), "o", color="0.6", markersize=5)
    axis.plot(*zip(*(points[i] for i in at), strict=True), "o-", color="tab:red", linewidth=1.5)
    for i in at[-NAMED:]:
        axis.annotate(
            plain(over[i].name, 40),
            points[i],
            xytext=(6, -10),
            textcoords="offset points",
            fontsize=8.5,
        )
    costs = [cost for cost, _ in points]
    if min(costs) > 0 and max(costs) > 10 * min(costs):
        axis.set_xscale("log")
    axis.set_xlabel(f"{WORDS[minimize]} of a trial")
    axis.set_ylabel("val/dice")
    axis.grid(alpha=0.3)
    return save_png(picture, path)


def front_plot(minimize: str) -> partial[Path]:
    """`plot_front` for a report."""
    return partial(plot_front, minimize=minimize)
