"""What a sweep's results have cost: Dice against device hours, and the best for a part of them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from unet3d.plotting import figure, save_png
from unet3d.sweep.budget import HOUR, device_seconds
from unet3d.sweep.configurations import configurations
from unet3d.sweep.report.memory import highest
from unet3d.sweep.report.parameters import LeftOut
from unet3d.sweep.report.plots import plain
from unet3d.sweep.sweep_folder import TrialRecord, at_top_rung

SHARES = ((0.1, "a tenth"), (1 / 3, "a third"))
ENERGY = "perf/energy_kwh"  # of a trial up to its epoch
NAMED = 12  # points of the front that are named in the picture


@dataclass(frozen=True)
class Reached:
    """The best val/dice after so many device hours of a sweep, and the trial that had it."""

    hours: float
    dice: float
    trial: int


def progress(trials: Sequence[TrialRecord]) -> list[Reached]:
    """Each time that the sweep's best val/dice rose, in the order of the clock.

    A trial's device hours are spread evenly over its epochs. Those of lower rungs count, their
    values, of less training, do not.
    """
    events = []
    compared = {trial.number for trial in at_top_rung(trials)}
    for trial in trials:
        each = device_seconds(trial) / HOUR / max(1, len(trial.epochs))
        for record in trial.epochs:
            value = record["metrics"].get("val/dice")
            value = value if trial.number in compared else None
            events.append((record["time"], trial.number, each, value))
    found: list[Reached] = []
    hours = 0.0
    for _, number, each, value in sorted(events, key=lambda event: event[:2]):
        hours += each
        if value is not None and (not found or value > found[-1].dice):
            found.append(Reached(hours, value, number))
    return found


def total_hours(trials: Sequence[TrialRecord]) -> float:
    """Device hours of all trials so far."""
    return sum(map(device_seconds, trials)) / HOUR


def best_of_shares(trials: Sequence[TrialRecord], budget: float | None) -> list[str]:
    """What a tenth and a third of the budget, if used, and all so far have given, a phrase each.

    budget: device hours; None: what the sweep has taken.
    """
    reached, spent = progress(trials), total_hours(trials)
    parts = [(share * (budget or spent), words) for share, words in SHARES]
    phrases = []
    for hours, words in [*(part for part in parts if part[0] < spent), (spent, "all")]:
        before = [one for one in reached if one.hours <= hours * (1 + 1e-9)]
        if before:
            best = before[-1]
            phrases.append(f"{words} ({hours:.3g} h): {best.dice:.4f} by trial {best.trial}")
        else:
            phrases.append(f"{words} ({hours:.3g} h): none yet")
    return phrases


def cost_sentence(trials: Sequence[TrialRecord], budget: float | None) -> str:
    """Device hours of the sweep and what parts of them gave; "" where nothing is known."""
    spent = total_hours(trials)
    if not spent or not progress(trials):
        return ""
    of = f" of {budget:.3g}" if budget else ""
    phrases = "; ".join(best_of_shares(trials, budget))
    said = f"{spent:.3g}{of} device hours were used. Best val/dice after {phrases}."
    return f"{said} {energy}" if (energy := energy_sentence(trials)) else said


def energy_sentence(trials: Sequence[TrialRecord]) -> str:
    """The energy of all trials whose machines count it; "" where none does."""
    known = [kwh for trial in trials if (kwh := highest(trial, ENERGY)) is not None]
    if not known:
        return ""
    of = "" if len(known) == len(trials) else f" of {len(known)} of {len(trials)} trials"
    return f"Their devices took {sum(known):.3g} kWh{of}."


def pareto(points: Sequence[tuple[float, float]]) -> list[int]:
    """Those (hours, Dice) that none beats in both, by their hours."""
    order = sorted(range(len(points)), key=lambda i: (points[i][0], -points[i][1]))
    front: list[int] = []
    for i in order:
        if not front or points[i][1] > points[front[-1]][1]:
            front.append(i)
    return front


def plot_cost(results: Sequence[TrialRecord], path: Path, budget: float | None = None) -> Path:
    """A PNG: each configuration's Dice by the device hours of one of its trials, with the front
    that none beats in both, and the sweep's best by the hours it has taken.

    Raises LeftOut where no trial has said how long it took.
    """
    found = [one for one in configurations(at_top_rung(results)) if one.values]
    points = [
        (sum(map(device_seconds, one.finished)) / HOUR / len(one.finished), one.mean)
        for one in found
    ]
    if not points or not any(hours for hours, _ in points):
        raise LeftOut("no finished trial has said how long it took.")
    picture = figure(figsize=(11, 4.6), layout="constrained")
    left, right = picture.subplots(1, 2)
    front = pareto(points)
    left.plot(*zip(*points, strict=True), "o", color="0.6", markersize=5)
    left.plot(*zip(*(points[i] for i in front), strict=True), "o-", color="tab:red", linewidth=1.5)
    for i in front[-NAMED:]:
        style: dict[str, Any] = {"textcoords": "offset points", "fontsize": 8.5, "ha": "right"}
        left.annotate(plain(found[i].name, 40), points[i], xytext=(-6, 5), **style)
    low, high = left.get_xlim()
    left.set_xlim(low - 0.25 * (high - low), high)  # makes room for the names
    left.set_xlabel("device hours of a trial")
    left.set_ylabel("val/dice, mean of a configuration")
    left.set_title("Pareto front of the configurations")
    reached, spent = progress(results), total_hours(results)
    steps = [Reached(0.0, reached[0].dice, 0), *reached] if reached else []
    steps += [Reached(spent, one.dice, one.trial) for one in steps[-1:]]
    hours, best = [one.hours for one in steps], [one.dice for one in steps]
    right.step(hours, best, where="post", color="tab:blue")
    for share, words in (*SHARES, (1.0, "all")):
        at = share * (budget or spent)
        right.axvline(at, color="0.6", linestyle=":", linewidth=1)
        right.annotate(
            words, (at, 0.02), xycoords=("data", "axes fraction"), fontsize=8.5, ha="right"
        )
    right.set_xlabel("device hours of the sweep")
    right.set_ylabel("best val/dice of a trial so far")
    right.set_title("What the hours have given")
    for axis in (left, right):
        axis.grid(alpha=0.3)
    return save_png(picture, path)


def cost_plot(budget: float | None) -> partial[Path]:
    """`plot_cost` for a report. budget: device hours, if the sweep has had one."""
    return partial(plot_cost, budget=budget)
