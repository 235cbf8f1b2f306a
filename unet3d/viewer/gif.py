"""An animated GIF of a segmented case: its axial slices, truth beside prediction."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from unet3d.plotting import COLOURS
from unet3d.viewer.case import ShownCase

SIDE = 256  # pixels along a slice's longer side
MAX_FRAMES = 80
DURATION = 120  # ms a frame
LINE, FONT, GAP = 18, 12, 6  # pixels: height of a line of text, of its letters; space beside it
GREYS = 64  # in the palette: more would be noise, which GIF cannot compress


def write_gif(case: ShownCase, path: Path) -> Path:
    """Write the GIF in one piece: evenly spaced slices, MAX_FRAMES at most. Returns the path."""
    depth = case.image.shape[2]
    chosen = np.linspace(0, depth - 1, min(depth, MAX_FRAMES)).round().astype(int)
    legend = _legend(case, _size(case)[0] * len(case.segmentations))
    frames = [_frame(case, int(z), legend) for z in chosen]
    first, *others = [_paletted(frame) for frame in frames]
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}")
    first.save(temporary, "GIF", save_all=True, append_images=others, duration=DURATION, loop=0)
    temporary.replace(path)
    return path


def _size(case: ShownCase) -> tuple[int, int]:
    """Pixels (width, height) of a slice, in proportion to its size in mm."""
    wide, high = (case.image.shape[axis] * case.spacing[axis] for axis in (0, 1))
    scale = SIDE / max(wide, high)
    return max(round(wide * scale), 1), max(round(high * scale), 1)


def _frame(case: ShownCase, z: int, legend: np.ndarray) -> np.ndarray:
    """A slice as indices of the palette, (rows, columns)."""
    width, height = _size(case)
    grey = _resized(case.drawn(case.image[..., z], 0), width, height).copy()
    left, right = case.ends(0)
    _write(grey, left, 2, (height - LINE) // 2)
    _write(grey, right, width - FONT, (height - LINE) // 2)
    panels = []
    for name in case.segmentations:
        panel = _indices(grey)
        for number, region in enumerate(case.regions):
            section = case.drawn(case.section(name, region, 2, z), 0)
            mask: np.ndarray = section.astype(np.uint8) * 255
            panel[_edge(_resized(mask, width, height) > 127)] = GREYS + number % len(COLOURS)
        panels.append(np.concatenate([_line(name, width), panel]))
    foot = _line(case.slice_name(2, z), width * len(panels))
    return np.concatenate([np.concatenate(panels, axis=1), foot, legend])


def _resized(plane: np.ndarray, width: int, height: int) -> np.ndarray:
    """A plane (x, y) as a picture, uint8 (rows, columns), y up."""
    from PIL import Image

    picture = Image.fromarray(np.ascontiguousarray(plane.T[::-1]))
    return np.asarray(picture.resize((width, height), Image.Resampling.BILINEAR))


def _edge(mask: np.ndarray) -> np.ndarray:
    """The pixels of a mask that touch its outside."""
    padded = np.pad(mask, 1)
    inner = padded[:-2, 1:-1] & padded[2:, 1:-1] & padded[1:-1, :-2] & padded[1:-1, 2:]
    return mask & ~inner


def _legend(case: ShownCase, width: int) -> np.ndarray:
    """A line for each region: its colour and its name."""
    legend: np.ndarray = np.zeros((0, width), np.uint8)
    for number, region in enumerate(case.regions):
        line = _line(region, width, GAP + LINE)
        line[4 : LINE - 4, GAP : GAP + 10] = GREYS + number % len(COLOURS)
        legend = np.concatenate([legend, line])
    return legend


def _line(text: str, width: int, left: int = GAP) -> np.ndarray:
    line: np.ndarray = np.zeros((LINE, width), np.uint8)
    _write(line, text, left, 0)
    return _indices(line)


def _write(grey: np.ndarray, text: str, left: int, top: int) -> None:
    """Write white text on a grey picture, in place."""
    from PIL import Image, ImageDraw, ImageFont

    picture = Image.fromarray(grey)
    ImageDraw.Draw(picture).text((left, top), text, 255, ImageFont.load_default(FONT))
    grey[...] = np.asarray(picture)


def _indices(grey: np.ndarray) -> np.ndarray:
    """A grey picture as indices of the palette, both uint8."""
    return (grey.astype(np.uint16) * (GREYS - 1) // 255).astype(np.uint8)


def _paletted(frame: np.ndarray) -> Any:
    """A PIL image: greys first, then the colours of the regions."""
    from matplotlib.colors import to_rgb
    from PIL import Image

    greys: np.ndarray = np.repeat(np.linspace(0, 255, GREYS), 3)
    colours = np.array([to_rgb(colour) for colour in COLOURS]).ravel() * 255
    picture = Image.frombytes("P", frame.shape[::-1], frame.tobytes())
    picture.putpalette(np.concatenate([greys, colours]).round().astype(np.uint8).tobytes())
    return picture
