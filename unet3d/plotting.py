"""What all pictures are made of: figures without a display, planes of a volume, contours."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

# Of regions, by their position.
COLOURS = ("tab:green", "tab:orange", "tab:red", "tab:blue", "tab:purple", "tab:olive")


def figure(**settings: Any) -> Any:
    """A matplotlib figure made without pyplot, which would keep it and look for a display."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    picture = Figure(**settings)
    FigureCanvasAgg(picture)
    return picture


def save_png(picture: Any, path: Path) -> Path:
    """Write a figure in one piece, replacing an earlier file. Returns the path."""
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}")
    picture.savefig(temporary, format="png", dpi=110)
    temporary.replace(path)
    return path


def save_pdf(picture: Any, path: Path) -> Path:
    """Write a figure as vectors, in one piece. Returns the path."""
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}")
    picture.savefig(temporary, format="pdf", metadata={"CreationDate": None})
    temporary.replace(path)
    return path


def largest_lesion_centre(mask: np.ndarray) -> tuple[int, ...]:
    """The voxel at the centre of the largest connected component of a boolean volume (x, y, z).

    The middle of the volume where the mask is empty.
    """
    from scipy import ndimage

    parts, count = ndimage.label(mask)
    if count == 0:
        return tuple(size // 2 for size in mask.shape)
    largest = np.argmax(np.bincount(parts.ravel())[1:]) + 1
    return tuple(int(np.median(axis)) for axis in np.nonzero(parts == largest))


def draw_plane(
    axis: Any, plane: np.ndarray, aspect: float = 1.0, window: tuple[float, float] | None = None
) -> None:
    """Draw a plane (u, v) in grey, with u to the right and v up.

    aspect: length of a voxel along v over that along u; window: the values of black and white, or
    None to choose them from the plane.
    """
    low, high = np.percentile(plane, (1, 99.5)) if window is None else window
    axis.imshow(
        plane.T, cmap="gray", origin="lower", aspect=aspect, vmin=low, vmax=max(high, low + 1e-6)
    )
    axis.set_xticks([])
    axis.set_yticks([])


def contour(axis: Any, plane: np.ndarray, output: int, width: float = 1.2) -> None:
    """Draw the edge of a boolean plane (u, v) in the colour of region `output`.

    width: points.
    """
    if plane.any() and not plane.all():
        colour = COLOURS[output % len(COLOURS)]
        axis.contour(plane.T.astype(float), levels=[0.5], colors=[colour], linewidths=width)
