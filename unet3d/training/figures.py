"""The pictures of a run: learning curves, and predictions beside the truth."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from unet3d.config.schema import Config
from unet3d.inference.sliding_window import padded_shape, sliding_window
from unet3d.plotting import COLOURS, contour, draw_plane, figure, largest_lesion_centre, save_png
from unet3d.preprocessing.store import Store
from unet3d.sampling.targets import Targets

if TYPE_CHECKING:
    from unet3d.inference.predictor import Predictor
    from unet3d.training.loop import Training

MAX_CASES = 4


def validation_overlays(training: Training) -> Path:
    """A PNG: image, truth and prediction of validation cases, three planes through the lesion."""
    import tensorflow as tf

    from unet3d.inference.predictor import make_predictor

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
    return save_png(picture, training.folder.validation_overlays)


def predict_case(
    predictor: Predictor,
    store: Store,
    case: str,
    targets: Targets,
    config: Config,
) -> np.ndarray:
    """Logits of a stored case, float32 (x, y, z, outputs)."""
    image = store.image(case)
    patch = config.data.patch or padded_shape(image.shape[:3], config.model.stride)
    return sliding_window(
        predictor.logits,
        image,
        patch,
        outputs=len(targets.names),
        overlap=config.validation.overlap,
        batch_size=predictor.batch_size,
    )


def segment(logits: np.ndarray, exclusive: bool) -> np.ndarray:
    """The predicted masks, boolean (x, y, z, outputs), from logits of that shape.

    exclusive: one output a voxel, that of the largest logit; otherwise each logit above 0.
    """
    if not exclusive:
        return logits > 0
    return np.eye(logits.shape[-1], dtype=bool)[np.argmax(logits, axis=-1)]


def learning_curves(history: list[dict[str, Any]], path: Path) -> Path:
    """Write a PNG: loss and Dice over the epochs; returns its path."""
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
    return save_png(picture, path)
