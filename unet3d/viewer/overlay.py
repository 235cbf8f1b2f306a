"""A picture of a segmented case: three planes through its largest lesion."""

from __future__ import annotations

from typing import Any

import numpy as np

from unet3d.plotting import COLOURS, contour, draw_plane, figure
from unet3d.viewer.case import PLANES, ShownCase

MAX_WIDTH, MAX_HEIGHT = 10.0, 14.0  # inches, of the planes


def overlay(case: ShownCase) -> Any:
    """A figure with rows axial, coronal, sagittal and columns image, truth (if any), prediction.

    All planes are at the same scale in mm.
    """
    columns = ("image", *case.segmentations)
    centre = case.centre()
    length = np.multiply(case.image.shape, case.spacing)  # mm
    sides = [[axis for axis in range(3) if axis != along] for _, along in PLANES]
    wide = [len(columns) * length[u] for u, _ in sides]
    high = [length[v] for _, v in sides]
    scale = min(MAX_WIDTH / max(wide), MAX_HEIGHT / sum(high))
    size = max(wide) * scale + 0.6, sum(high) * scale + 1.2
    picture = figure(figsize=(max(size[0], 6.0), max(size[1], 4.0)), layout="constrained")
    axes = picture.subplots(3, len(columns), height_ratios=high, squeeze=False)
    for row, (plane, along), (u, v) in zip(axes, PLANES, sides, strict=True):
        row[0].set_ylabel(f"{plane}\n{case.slice_name(along, centre[along])}")
        for axis, column in zip(row, columns, strict=True):
            grey = np.moveaxis(case.image, along, 0)[centre[along]]
            draw_plane(axis, case.drawn(grey, u), case.spacing[v] / case.spacing[u], (0, 255))
            _directions(axis, case.ends(u) + case.ends(v))
            if column != "image":
                _contours(axis, case, column, u, along, centre[along])
    for axis, column in zip(axes[0], columns, strict=True):
        axis.set_title(column)
    _legend(picture, case)
    return picture


def _contours(axis: Any, case: ShownCase, name: str, u: int, along: int, index: int) -> None:
    """Draw a segmentation's regions; the first is the widest, since nested ones share edges."""
    for number, region in enumerate(case.regions):
        width = min(1.0 + 0.5 * (len(case.regions) - 1 - number), 2.0)
        section = case.section(name, region, along, index)
        contour(axis, case.drawn(section, u), number, width)


def _directions(axis: Any, letters: tuple[str, ...]) -> None:
    """Write at the left, right, lower and upper edge which way it faces: L, R, P, A, I or S."""
    from matplotlib.patheffects import withStroke

    look = {
        "color": "0.9",
        "fontsize": 8,
        "path_effects": [withStroke(linewidth=2, foreground="black")],
    }
    places = ((0.02, 0.5), (0.98, 0.5), (0.5, 0.02), (0.5, 0.98))
    sides = (("left", "center"), ("right", "center"), ("center", "bottom"), ("center", "top"))
    for place, (ha, va), letter in zip(places, sides, letters, strict=True):
        axis.text(*place, letter, ha=ha, va=va, transform=axis.transAxes, **look)


def _legend(picture: Any, case: ShownCase) -> None:
    from matplotlib.lines import Line2D

    handles = []
    for number, score in enumerate(case.scores()):
        name = score.region.replace("$", r"\$")  # matplotlib would read a formula
        text = name if score.dice is None else f"{name} (Dice {score.dice:.3f})"
        handles.append(Line2D([], [], color=COLOURS[number % len(COLOURS)], label=text))
    if handles:
        picture.legend(handles=handles, loc="outside lower center", ncols=min(len(handles), 3))
