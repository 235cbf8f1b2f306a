"""The network as a SavedModel, and the comparison of any written model with its network."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np

from unet3d.errors import RunError
from unet3d.inference.network import TrainedNetwork

TOLERANCE = 1e-4  # of a logit


def finest(trained: TrainedNetwork) -> Any:
    """The network as a Keras model with one output; deep supervision has several."""
    import keras

    model = trained.model
    finest = model if len(model.outputs) == 1 else keras.Model(model.input, model.outputs[0])
    if finest.inputs[0].name == "image":
        return finest
    image = keras.Input(finest.inputs[0].shape[1:], name="image")  # as callers know it
    return keras.Model(image, finest(image))


def random_patch(trained: TrainedNetwork) -> np.ndarray:
    """Seeded float32 (2, x, y, z, channels), with unequal sizes, to expose a fixed size."""
    x, y, z = trained.config.model.stride
    shape = (2, 2 * x, 3 * y, 2 * z, len(trained.channels))
    return np.random.default_rng(0).standard_normal(shape, dtype=np.float32)


def compare(
    trained: TrainedNetwork, name: str, logits: Callable[[np.ndarray], np.ndarray]
) -> float:
    """The largest absolute difference of `logits` from the network's, on a random patch.

    The reference runs layer by layer, as graphs rewritten by TensorFlow are what is checked.
    Raises RunError above TOLERANCE, and for another shape or type.
    """
    patch = random_patch(trained)
    with exact():
        expected = np.asarray(finest(trained)(patch, training=False))
        found = np.asarray(logits(patch))
    if found.shape != expected.shape or found.dtype != np.float32:
        raise RunError(
            f"{name}: gives {found.dtype} {found.shape}, where the network gives {expected.shape}"
        )
    difference = float(np.abs(found - expected).max())
    if not difference <= TOLERANCE:  # also NaN
        raise RunError(
            f"{name}: read back, its logits differ from the network's by {difference:.3g}, more "
            f"than {TOLERANCE:g}; nothing was exported"
        )
    return difference


@contextmanager
def exact() -> Iterator[None]:
    """Compute without TensorFloat-32, whose 10 bits would hide a wrong graph on a GPU.

    And with the fusions that another program has switched on, also where this one has them off.
    """
    import tensorflow as tf

    settings, options = tf.config.experimental, tf.config.optimizer
    before = settings.tensor_float_32_execution_enabled()
    fused = options.get_experimental_options().get("remapping", True)
    settings.enable_tensor_float_32_execution(False)
    options.set_experimental_options({"remapping": True})
    try:
        yield
    finally:
        settings.enable_tensor_float_32_execution(before)
        options.set_experimental_options({"remapping": fused})


def write_savedmodel(trained: TrainedNetwork, folder: Path) -> float:
    """Write float32 (n, x, y, z, channels) -> logits (n, x, y, z, outputs), sizes left open.

    Returns the largest difference of the logits after reading it back. Raises RunError where that
    is too large.
    """
    import tensorflow as tf

    finest(trained).export(str(folder), format="tf_saved_model", verbose=False)
    serve = tf.saved_model.load(str(folder)).signatures["serving_default"]
    return compare(
        trained,
        folder.name,
        lambda patch: next(iter(serve(image=tf.constant(patch)).values())).numpy(),
    )
