"""A picture of a data set's fingerprint: extents, spacings, intensities and volumes."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from unet3d.plotting import figure, save_png
from unet3d.preprocessing.fingerprint import CaseFingerprint
from unet3d.preprocessing.store import Store

AXIS_COLOURS = {"x": "tab:blue", "y": "tab:orange", "z": "tab:green"}
PERCENTILES = {"p0_5": "tab:cyan", "p50": "tab:gray", "p99_5": "tab:red"}
WIDE = 30.0  # ratio of values above which an axis is logarithmic
DOTS = 40  # most cases of which each is drawn as a dot
NAME_LENGTH = 28  # characters of a name, longer ones are cut


def draw_fingerprint(
    store: Store,
    cases: Sequence[CaseFingerprint],
    regions: dict[str, list[int]],
    path: Path,
) -> Path:
    """A PNG at `path`: histograms of extents and spacings, boxes of intensities and volumes."""
    structures = {f"{value} {name}": [value] for value, name in store.labels.items()} | regions
    rows = max(len(structures), 3 * len(store.channels))
    picture = figure(figsize=(13, 4.5 + max(4.0, 0.3 * rows)), layout="constrained")
    axes = picture.subplots(2, 2, height_ratios=[3.5, max(3.5, 0.3 * rows)])
    picture.suptitle(f"{_plot_text(store.path.name)}: {len(cases)} cases")
    _histogram(axes[0, 0], [case.extent() for case in cases], "extent after the crop, mm")
    _histogram(axes[0, 1], [case.spacing for case in cases], "spacing of the files, mm")
    _intensities(axes[1, 0], store.channels, cases)
    _volumes(axes[1, 1], structures, cases)
    return save_png(picture, path)


def _histogram(axis: Any, vectors: Sequence[tuple[float, ...]], title: str) -> None:
    """Histograms of x, y and z, the bars side by side."""
    table = np.asarray(vectors)
    low, high = float(table.min()), float(table.max())
    bins = 1 + min(20, 4 + len(vectors) // 8)
    if high > WIDE * low > 0:
        edges = np.geomspace(low, high, bins)
        _logarithmic(axis)
    elif high - low > 1e-3 * high:
        edges = np.linspace(low, high, bins)
    else:  # all equal
        edges = np.linspace(low - 0.5, high + 0.5, 6)
    axis.hist([*table.T], bins=[*edges], label=[*AXIS_COLOURS], color=[*AXIS_COLOURS.values()])
    axis.set_ylim(top=1.2 * axis.get_ylim()[1])  # room for the legend
    axis.set_title(title)
    axis.set_ylabel("cases")
    axis.yaxis.get_major_locator().set_params(integer=True)
    axis.legend(loc="upper center", ncols=3)
    axis.grid(alpha=0.3)


def _intensities(axis: Any, channels: Sequence[str], cases: Sequence[CaseFingerprint]) -> None:
    """Boxes over the cases for three percentiles of each channel, in the units of the files."""
    rows, names, colours, texts = [], [], [], list(PERCENTILES)
    for index, channel in enumerate(channels):
        each = [case.intensities[index] for case in cases if case.intensities[index].voxels]
        for key in texts:
            rows.append([getattr(one, key) for one in each])
            names.append(f"{_plot_text(channel)}, {key.removeprefix('p').replace('_', '.')} %")
            colours.append(PERCENTILES[key])
    sizes = np.abs([value for row in rows for value in row if value])
    if sizes.size and sizes.max() > WIDE * WIDE * np.median(sizes):
        axis.set_xscale("symlog", linthresh=float(np.median(sizes)))
    _boxes(axis, rows, names, colours)
    axis.set_title("percentiles inside the foreground, units of the files")


def _volumes(axis: Any, structures: dict[str, list[int]], cases: Sequence[CaseFingerprint]) -> None:
    """A box for the volumes of each label and region; its name says how many cases have it."""
    rows, names = [], []
    for name, values in structures.items():
        volumes = [volume for case in cases if (volume := case.volume(values)) > 0]
        rows.append(volumes)
        names.append(f"{_plot_text(name)} ({len(volumes)} of {len(cases)})")
    filled = [volume for row in rows for volume in row]
    if filled and max(filled) > WIDE * min(filled):
        _logarithmic(axis)
    _boxes(axis, rows, names, ["tab:blue"] * len(rows))
    axis.set_title("volumes of labels and regions, ml (in how many cases)")


def _boxes(
    axis: Any, rows: Sequence[Sequence[float]], names: Sequence[str], colours: Sequence[str]
) -> None:
    """Horizontal boxes, the first at the top; with few cases, a dot for each."""
    places = np.arange(len(rows), 0, -1)
    dots = max(map(len, rows)) <= DOTS
    drawn = axis.boxplot(
        [*rows],
        positions=places,
        orientation="horizontal",
        widths=0.6,
        patch_artist=True,
        showfliers=not dots,
    )
    for box, colour in zip(drawn["boxes"], colours, strict=True):
        box.set(facecolor=colour, alpha=0.35)
    for place, row in zip(places, rows, strict=True):
        if dots:
            axis.plot(row, [place] * len(row), ".", color="black", markersize=4, alpha=0.6)
    axis.set_yticks(places, names)
    axis.grid(alpha=0.3, axis="x", which="both")


def _logarithmic(axis: Any) -> None:
    """Make the horizontal axis logarithmic, with plain numbers."""
    axis.set_xscale("log")
    axis.xaxis.set_major_formatter("{x:g}")


def _plot_text(name: str) -> str:
    """A name, shortened, that matplotlib does not read as a formula."""
    short = name if len(name) <= NAME_LENGTH else name[: NAME_LENGTH - 1] + "…"
    return short.replace("$", r"\$")
