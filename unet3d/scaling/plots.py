"""Pictures of a study: speed-up over devices, and trials on devices over time."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, Protocol

from unet3d.planning.simulated import TRAIN, Outcome
from unet3d.plotting import figure, save_pdf, save_png

PAPER = (("data", 12.0), ("experiment", 14.0))  # speed-ups on 32 GPUs (Berral et al. 2022)
PAPER_GPUS = 32
COLOURS = {  # of a parallelism, in every picture
    "experiment": "tab:blue",
    "experiment, growing": "tab:green",
    "data": "tab:orange",
    "hybrid": "tab:red",
}
OTHER_COLOUR = "tab:purple"


class Point(Protocol):
    """A speed-up: of a simulation, or measured."""

    @property
    def devices(self) -> int: ...
    @property
    def parallelism(self) -> str: ...
    @property
    def speedup(self) -> float: ...


def draw_speedup(points: Sequence[Point], folder: Path, title: str) -> None:
    """speedup.png and speedup.pdf: a curve for each parallelism, the ideal, the paper's points."""
    picture = figure(figsize=(6.4, 4.8), layout="constrained")
    axis = picture.subplots()
    most = max(point.devices for point in points)
    end = max(most, PAPER_GPUS)
    axis.plot([1, end], [1, end], color="0.7", linestyle="--", label="ideal")
    for name, curve in _curves(points).items():
        x, y = zip(*curve, strict=True)
        axis.plot(x, y, marker="o", color=COLOURS.get(name, OTHER_COLOUR), label=name)
    for (name, speedup), marker in zip(PAPER, ("^", "v"), strict=True):
        label = f"Berral et al. 2022, {name}: x{speedup:.0f} on {PAPER_GPUS} GPUs"
        shape = {"color": COLOURS[name], "markeredgecolor": "black", "markersize": 8}
        axis.plot([PAPER_GPUS], [speedup], marker, label=label, **shape)
    axis.set_xscale("log", base=2)
    axis.set_yscale("log", base=2)
    axis.xaxis.set_major_formatter(lambda value, _: f"{value:g}")
    axis.yaxis.set_major_formatter(lambda value, _: f"{value:g}")
    axis.set_xlabel("devices")
    axis.set_ylabel("speed-up against one device")
    axis.set_title(title, fontsize=10)
    axis.grid(alpha=0.3)
    axis.legend(fontsize=8)
    save_png(picture, folder / "speedup.png")
    save_pdf(picture, folder / "speedup.pdf")


def _curves(points: Sequence[Point]) -> dict[str, list[tuple[int, float]]]:
    """The points of each parallelism by devices; one device is the same for all."""
    names = list(dict.fromkeys(_family(point.parallelism) for point in points))
    alone = [(p.devices, p.speedup) for p in points if p.devices == 1][:1]
    curves = {
        name: sorted(
            {(p.devices, p.speedup) for p in points if _family(p.parallelism) == name} | {*alone}
        )
        for name in names
    }
    return {name: curve for name, curve in curves.items() if curve}


def _family(parallelism: str) -> str:
    return "hybrid" if parallelism.startswith("hybrid") else parallelism


def draw_gantt(outcome: Outcome, path: Path, title: str) -> None:
    """A bar for each trial on each device; starts are pale."""
    picture = figure(figsize=(9, min(12.0, 1.5 + 0.18 * outcome.devices)), layout="constrained")
    axis: Any = picture.subplots()
    colours = _trial_colours()
    unit, seconds = ("hours", 3600) if outcome.makespan >= 2 * 3600 else ("minutes", 60)
    for segment in outcome.segments:
        for device in segment.devices:
            axis.broken_barh(
                [(segment.start / seconds, (segment.end - segment.start) / seconds)],
                (device - 0.4, 0.8),
                facecolors=colours[segment.trial % len(colours)],
                alpha=1.0 if segment.kind == TRAIN else 0.3,
            )
    axis.set_xlabel(unit)
    axis.set_ylim(-1, outcome.devices)
    axis.set_ylabel("device")
    axis.set_title(title, fontsize=10)
    save_png(picture, path)


def _trial_colours() -> list[Any]:
    from matplotlib import colormaps

    return [colormaps["tab20"](index / 20) for index in range(20)]
