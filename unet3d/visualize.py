"""Pictures of a run: overlays of truth and prediction, and learning curves."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from unet3d.training.loop import Training

COLOURS = ("tab:green", "tab:orange", "tab:red", "tab:blue", "tab:purple", "tab:olive")
MAX_CASES = 4


def figure(**settings: Any) -> Any:
    """A figure without pyplot, which would keep it and look for a display."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    picture = Figure(**settings)
    FigureCanvasAgg(picture)
    return picture


def save_png(picture: Any, path: Path) -> Path:
    """Write a figure that appears whole, replacing what was there."""
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}")
    picture.savefig(temporary, format="png", dpi=110)
    temporary.replace(path)
    return path


def largest_lesion_centre(mask: np.ndarray) -> tuple[int, ...]:
    """The voxel at the centre of the largest connected part of a boolean volume (x, y, z)."""
    from scipy import ndimage

    parts, count = ndimage.label(mask)
    if count == 0:
        return tuple(size // 2 for size in mask.shape)
    largest = np.argmax(np.bincount(parts.ravel())[1:]) + 1
    return tuple(int(np.median(axis)) for axis in np.nonzero(parts == largest))


def validation_overlays(training: Training) -> Path:
    """A PNG: image, truth and prediction of validation cases, three planes through the lesion."""
    import tensorflow as tf

    from unet3d.training.validate import make_predictor, predict_case, segment

    targets = training.targets
    # By the chief alone, hence outside a strategy that waits for the other workers.
    predictor = make_predictor(
        training.state.model,
        tf.distribute.get_strategy(),
        1,
        training.config.validation.batch_size,
    )
    shown = range(1, len(targets.names)) if targets.exclusive else range(len(targets.names))
    cases = training.val_cases[:MAX_CASES]
    picture = figure(figsize=(11, 10 * len(cases)), layout="constrained")
    axes = picture.subplots(3 * len(cases), 3, squeeze=False)
    for number, case in enumerate(cases):
        truth = targets.encode(training.store.label(case)) > 0
        logits = predict_case(predictor, training.store, case, targets, training.config)
        prediction = segment(logits, targets.exclusive)
        image: np.ndarray = training.store.image(case)[..., 0].astype(np.float32)
        centre = largest_lesion_centre(truth[..., list(shown)].any(axis=-1))
        for plane, name in enumerate(("sagittal", "coronal", "axial")):
            row = axes[3 * number + plane]
            row[0].set_ylabel(f"{case}\n{name}, slice {centre[plane]}")
            for axis, title, mask in zip(
                row, ("image", "truth", "prediction"), (None, truth, prediction), strict=True
            ):
                draw_plane(axis, np.take(image, centre[plane], plane))
                if number == plane == 0:
                    axis.set_title(
                        f"{title} ({training.store.channels[0]})" if mask is None else title
                    )
                for output in shown if mask is not None else ():
                    contour(axis, np.take(mask[..., output], centre[plane], plane), output)
    from matplotlib.lines import Line2D

    picture.legend(
        handles=[
            Line2D([], [], color=COLOURS[o % len(COLOURS)], label=targets.names[o]) for o in shown
        ],
        loc="outside lower center",
        ncols=len(shown),
    )
    return save_png(picture, training.folder / "figures" / "validation.png")


def draw_plane(
    axis: Any, plane: np.ndarray, aspect: float = 1.0, window: tuple[float, float] | None = None
) -> None:
    """Draw a plane (u, v) in grey, u to the right and v up.

    aspect: length of a voxel along v over that along u; window: values of black and white, else
    chosen from the plane.
    """
    low, high = np.percentile(plane, (1, 99.5)) if window is None else window
    axis.imshow(
        plane.T, cmap="gray", origin="lower", aspect=aspect, vmin=low, vmax=max(high, low + 1e-6)
    )
    axis.set_xticks([])
    axis.set_yticks([])


def contour(axis: Any, plane: np.ndarray, output: int, width: float = 1.2) -> None:
    """Draw the edge of a boolean plane (u, v) in the colour of the output of that number.

    width: points.
    """
    if plane.any() and not plane.all():
        colour = COLOURS[output % len(COLOURS)]
        axis.contour(plane.T.astype(float), levels=[0.5], colors=[colour], linewidths=width)


def learning_curves(history: list[dict[str, Any]], folder: Path) -> Path:
    """A PNG: loss and Dice over the epochs."""
    picture = figure(figsize=(10, 4), layout="constrained")
    left, right = picture.subplots(1, 2)
    names = sorted({name for record in history for name in record["metrics"]})
    for name in names:
        points = [(r["epoch"], r["metrics"][name]) for r in history if name in r["metrics"]]
        axis = left if name.endswith("/loss") else right if "/dice" in name else None
        if axis is not None:
            axis.plot(*zip(*points, strict=True), marker=".", label=name)
    for axis, title in ((left, "loss"), (right, "Dice")):
        axis.set_xlabel("epoch")
        axis.set_title(title)
        axis.grid(alpha=0.3)
        if axis.has_data():
            axis.legend()
    right.set_ylim(0, 1)
    return save_png(picture, folder / "figures" / "learning_curves.png")
