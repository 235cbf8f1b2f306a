"""The network as a TensorFlow SavedModel, which TensorFlow Serving and C++ read without Keras."""

from __future__ import annotations

from pathlib import Path

from unet3d.inference.compare import compare, finest
from unet3d.inference.trained import Trained


def write_savedmodel(trained: Trained, folder: Path) -> float:
    """Write float32 (n, x, y, z, channels) -> logits (n, x, y, z, outputs), sizes left open.

    Returns the largest difference of what was read back. Raises RunError where that is too large.
    """
    import tensorflow as tf

    finest(trained).export(str(folder), format="tf_saved_model", verbose=False)
    serve = tf.saved_model.load(str(folder)).signatures["serving_default"]
    return compare(
        trained,
        folder.name,
        lambda patch: next(iter(serve(image=tf.constant(patch)).values())).numpy(),
    )
