"""A model that was written, compared with the network that it was written from."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np

from unet3d.inference.trained import Trained
from unet3d.training.errors import RunError

TOLERANCE = 1e-4  # of a logit


def finest(trained: Trained) -> Any:
    """The network as a Keras model with one output, which deep supervision has several of."""
    import keras

    model = trained.model
    return model if len(model.outputs) == 1 else keras.Model(model.input, model.outputs[0])


def random_patch(trained: Trained) -> np.ndarray:
    """Seeded float32 (2, x, y, z, channels), of sizes that differ, so that a fixed one is found."""
    from unet3d.models import stride

    step = stride(trained.config.model)
    shape = (2, 2 * step, 3 * step, 2 * step, len(trained.channels))
    return np.random.default_rng(0).standard_normal(shape, dtype=np.float32)


def compare(trained: Trained, name: str, logits: Callable[[np.ndarray], np.ndarray]) -> float:
    """The largest absolute difference of `logits` from the network's, on a random patch.

    The network runs layer by layer: a graph that TensorFlow has rewritten is what is checked.
    Raises RunError above 1e-4, and for another shape.
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
    """Without TensorFloat-32, whose 10 bits would hide a wrong graph on a GPU.

    And with the fusions that another program has switched on, also where `avoid_wrong_fusion` has
    switched them off in this one.
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
