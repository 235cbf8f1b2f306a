"""The HTML page of a segmented case: its volumes are inside, and it needs no network."""

from __future__ import annotations

import base64
import gzip
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from unet3d.html import render
from unet3d.plotting import COLOURS
from unet3d.viewer.case import PLANES, ShownCase

MAX_VOXELS = 9_000_000  # of the image in the page: 12 MB where nothing can be compressed
CANVAS = 640  # pixels along a plane's longer side
MAX_HEIGHT = 75  # of a plane, in percent of the window's height
ERROR_COLOURS = {"falsePositive": "#ff4fd8", "falseNegative": "#19d3f3"}


@dataclass(frozen=True)
class Plane:
    """How a plane is laid out on the page.

    axes: of the volume that run right, up and along the slider; width, height: pixels of the
    canvas; last: the highest slice index; share: of the width of all planes; max_width: percent
    of the window's height.
    """

    name: str
    axes: tuple[int, int, int]
    width: int
    height: int
    last: int
    share: float
    max_width: float


@dataclass(frozen=True)
class RegionRow:
    """A row of the table, which is also the legend."""

    region: str
    colour: str
    cells: list[str]


@dataclass(frozen=True)
class Link:
    """A case in the list of a page that a server shows."""

    number: int
    text: str


def page(case: ShownCase, number: int = 0, links: Sequence[Link] = ()) -> str:
    """The HTML of a case; with `links`, of which it is this number, the way to others."""
    steps = subsampling(case.image.shape, case.spacing)
    volumes = {"image": case.image, **case.segmentations}
    length = np.multiply(case.image.shape, case.spacing)  # mm
    total = length[0] * 2 + length[1]  # of the three planes side by side, at one scale in mm
    return render(
        "viewer/viewer.html",
        case=case,
        number=number,
        links=links,
        steps=steps,
        summary=summary(case),
        errors=ERROR_COLOURS,
        planes=[_plane(case, name, along, steps, total) for name, along in PLANES],
        max_width=MAX_HEIGHT * total / max(length[1], length[2]),
        headings=headings(case),
        rows=region_rows(case),
        description=_description(case, steps),
        volumes={name: _packed(volume, steps) for name, volume in volumes.items()},
    )


def subsampling(
    shape: Sequence[int], spacing: Sequence[float], most: int = MAX_VOXELS
) -> tuple[int, ...]:
    """Which voxels a page keeps: one in so many along each axis, `most` of them in all."""
    steps = [1, 1, 1]
    while np.prod(_subsampled(shape, steps)) > most:
        steps[int(np.argmin(np.multiply(spacing, steps)))] += 1
    return tuple(steps)


def _subsampled(shape: Sequence[int], steps: Sequence[int]) -> list[int]:
    return [-(-size // step) for size, step in zip(shape, steps, strict=True)]


def _packed(volume: np.ndarray, steps: Sequence[int]) -> str:
    """uint8 voxels, x fastest, as gzip in base64."""
    x, y, z = steps
    packed = gzip.compress(volume[::x, ::y, ::z].tobytes(order="F"), 9, mtime=0)
    return base64.b64encode(packed).decode("ascii")


def _description(case: ShownCase, steps: Sequence[int]) -> dict[str, object]:
    """What viewer.js has to know; shape and start count the voxels that are kept."""
    return {
        "shape": _subsampled(case.image.shape, steps),
        "start": [start // step for start, step in zip(case.centre(), steps, strict=True)],
        "step": steps,
        "offset": case.offset,
        "fullShape": case.full_shape,
        "ends": [case.ends(axis) for axis in range(3)],
        "mirrored": case.mirrored,
        "regions": [
            {"values": values, "colour": region_colour(number)}
            for number, values in enumerate(case.regions.values())
        ],
        "errors": ERROR_COLOURS,
    }


def region_colour(region: int) -> str:
    """#rrggbb of a region, by its position."""
    from matplotlib.colors import to_hex

    return to_hex(COLOURS[region % len(COLOURS)])


def summary(case: ShownCase) -> str:
    """truth: a.nii.gz; prediction: b.nii.gz; 240 x 240 x 155 voxels of 1 x 1 x 1 mm."""
    names = [f"{kind}: {name}" for kind, name in case.files.items() if kind != "image"]
    size = " x ".join(str(size) for size in case.full_shape)
    voxel = " x ".join(f"{length:g}" for length in case.spacing)
    return "; ".join([*names, f"{size} voxels of {voxel} mm"])


def _plane(case: ShownCase, name: str, along: int, steps: Sequence[int], total: float) -> Plane:
    """total: width of all planes in mm."""
    u, v = (axis for axis in range(3) if axis != along)
    wide, high = (case.image.shape[axis] * case.spacing[axis] for axis in (u, v))
    scale = CANVAS / max(wide, high)
    width, height = max(round(wide * scale), 1), max(round(high * scale), 1)
    last = _subsampled(case.image.shape, steps)[along] - 1
    max_width = MAX_HEIGHT * width / height
    return Plane(name, (u, v, along), width, height, last, wide / total, max_width)


def headings(case: ShownCase) -> list[str]:
    """The columns of the table of regions."""
    dice = ["Dice"] if "truth" in case.segmentations else []
    return ["Region", "Labels", *dice, *(f"{kind.capitalize()}, ml" for kind in case.segmentations)]


def region_rows(case: ShownCase) -> list[RegionRow]:
    """Dice and volume of each region."""
    rows = []
    for number, score in enumerate(case.scores()):
        labels = ", ".join(str(value) for value in case.regions[score.region])
        dice = [] if score.dice is None else [f"{score.dice:.4f}"]
        cells = [labels, *dice, *(f"{volume:.2f}" for volume in score.ml.values())]
        rows.append(RegionRow(score.region, region_colour(number), cells))
    return rows
