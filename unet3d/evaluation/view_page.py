"""The page of a segmented case: one HTML file with its volumes inside, which needs no network."""

from __future__ import annotations

import base64
import gzip
import json
from collections.abc import Sequence
from html import escape

import numpy as np

from unet3d.evaluation.view_case import ENDS, PLANES, ShownCase
from unet3d.evaluation.view_page_style import ERRORS, SCRIPT, STYLE
from unet3d.html import document
from unet3d.visualize import COLOURS

MAX_VOXELS = 9_000_000  # of the image in the page: 12 MB where nothing can be compressed
CANVAS = 640  # pixels of a plane's longer side
SWITCHES = {"truth": "Truth (filled)", "prediction": "Prediction (outlined)"}


def page(case: ShownCase) -> str:
    """The HTML of a case."""
    name = escape(case.files["image"])
    steps = thinning(case.image.shape, case.spacing)
    body = [_switches(case), _planes(case, steps), _table(case), _help(case, steps)]
    data = [_volume("image", case.image, steps)]
    data += [_volume(name, labels, steps) for name, labels in case.segmentations.items()]
    content = f"""<main>
<noscript><p>The slices are drawn by a script, which this browser does not run.</p></noscript>
<p id="status" role="status"></p>
{chr(10).join(body)}
</main>
<script type="application/json" id="case">{_json(_description(case, steps))}</script>
{chr(10).join(data)}
<script>{SCRIPT}</script>"""
    return document(name, STYLE, f"<p>{_files(case)}</p>", content)


def thinning(shape: Sequence[int], spacing: Sequence[float]) -> tuple[int, ...]:
    """Which voxels the page keeps: 1 in so many along each axis."""
    steps = [1, 1, 1]
    while np.prod([-(-size // step) for size, step in zip(shape, steps, strict=True)]) > MAX_VOXELS:
        steps[int(np.argmin(np.multiply(spacing, steps)))] += 1
    return tuple(steps)


def _volume(name: str, volume: np.ndarray, steps: Sequence[int]) -> str:
    """uint8 voxels, x fastest, as gzip in base64."""
    x, y, z = steps
    packed = gzip.compress(volume[::x, ::y, ::z].tobytes(order="F"), 9, mtime=0)
    text = base64.b64encode(packed).decode("ascii")
    return f'<script type="text/plain" id="{name}">{text}</script>'


def _description(case: ShownCase, steps: Sequence[int]) -> dict[str, object]:
    """What the script has to know."""
    return {
        "shape": [-(-size // step) for size, step in zip(case.image.shape, steps, strict=True)],
        "start": [start // step for start, step in zip(case.centre(), steps, strict=True)],
        "step": steps,
        "offset": case.offset,
        "whole": case.whole,
        "ends": ENDS,
        "regions": [
            {"values": values, "colour": _colour(number)}
            for number, values in enumerate(case.regions.values())
        ],
        "errors": ERRORS,
    }


def _colour(region: int) -> str:
    from matplotlib.colors import to_hex

    return to_hex(COLOURS[region % len(COLOURS)])


def _json(value: object) -> str:
    return json.dumps(value).replace("<", "\\u003c")  # no text ends the script


def _files(case: ShownCase) -> str:
    told = [f"{kind}: {name}" for kind, name in case.files.items() if kind != "image"]
    size = " x ".join(str(size) for size in case.whole)
    voxel = " x ".join(f"{length:g}" for length in case.spacing)
    return escape("; ".join([*told, f"{size} voxels of {voxel} mm"]))


def _switches(case: ShownCase) -> str:
    switches = [
        f'<label><input type="checkbox" id="show-{kind}" checked> {SWITCHES[kind]}</label>'
        for kind in case.segmentations
    ]
    if "truth" in case.segmentations:
        marks = " ".join(f"<span>{_mark(colour)} {name}</span>" for name, colour in ERRORS.items())
        switches.append(f'<label><input type="checkbox" id="show-errors"> Errors: {marks}</label>')
    return (
        f'<div class="switches" role="group" aria-label="What is drawn">{"".join(switches)}</div>'
    )


def _mark(colour: str) -> str:
    return f'<span class="mark" style="background: {colour}"></span>'


def _planes(case: ShownCase, steps: Sequence[int]) -> str:
    """A canvas and a slider each; all planes have one scale in mm where they stand side by side."""
    length = np.multiply(case.image.shape, case.spacing)
    total = length[0] * 2 + length[1]
    figures = []
    for plane, along in PLANES:
        u, v = (axis for axis in range(3) if axis != along)
        scale = CANVAS / max(length[u], length[v])
        width, height = (max(round(length[axis] * scale), 1) for axis in (u, v))
        last = -(-case.image.shape[along] // steps[along]) - 1
        name = plane.capitalize()
        figures.append(
            f'<figure style="flex-grow: {length[u] / total:.4f}">\n'
            f'<figcaption><label for="{plane}">{name}</label> '
            f'<span id="{plane}-slice"></span></figcaption>\n'
            f'<canvas id="{plane}-canvas" width="{width}" height="{height}" role="img" '
            f'aria-label="{name} slice" data-axes="{u} {v} {along}" '
            f'style="max-width: {75 * width / height:.2f}vh"></canvas>\n'
            f'<input type="range" id="{plane}" min="0" max="{last}">\n</figure>'
        )
    widest = 75 * total / max(length[1], length[2])
    return (
        f'<div class="planes" style="max-width: {widest:.2f}vh">\n{chr(10).join(figures)}\n</div>'
    )


def _table(case: ShownCase) -> str:
    """The legend: a switch a region, its labels, Dice and volumes."""
    if not case.regions:
        return "<p>No label is set in this case.</p>"
    headings = ["Region", "Labels", *(["Dice"] if "truth" in case.segmentations else [])]
    headings += [f"{kind.capitalize()}, ml" for kind in case.segmentations]
    head = "".join(f'<th scope="col">{heading}</th>' for heading in headings)
    rows = []
    for number, score in enumerate(case.scores()):
        values = ", ".join(str(value) for value in case.regions[score.region])
        cells = [values, *([] if score.dice is None else [f"{score.dice:.4f}"])]
        cells += [f"{volume:.2f}" for volume in score.ml.values()]
        rows.append(
            f'<tr><th scope="row"><label><input type="checkbox" data-region="{number}" checked> '
            f"{_mark(_colour(number))} {escape(score.region)}</label></th>"
            f"{''.join(f'<td>{cell}</td>' for cell in cells)}</tr>"
        )
    return (
        '<div class="wide" tabindex="0" role="region" aria-label="Regions">\n<table>\n'
        f"<thead><tr>{head}</tr></thead>\n<tbody>\n{chr(10).join(rows)}\n</tbody>\n</table>\n</div>"
    )


def _help(case: ShownCase, steps: Sequence[int]) -> str:
    told = (
        "Move through the slices with the sliders, the arrow keys or the wheel over a picture; a "
        "click sets the other two planes. L and R are the patient's left and right."
    )
    if "truth" in case.segmentations:
        told += " Errors are those of all ticked regions taken as one."
    if max(steps) > 1:
        x, y, z = steps
        told += (
            f" The volume is large: 1 voxel in {x}, {y} and {z} along x, y and z is drawn; the "
            "table counts all."
        )
    return f'<p class="quiet">{told}</p>'
