"""A way around a fault of TensorFlow's on CPU, until it is mended there."""

from __future__ import annotations

from unet3d.config import ModelConfig


def avoid_wrong_fusion(model: ModelConfig) -> None:
    """Keep TensorFlow from fusing convolution, bias, addition and leaky ReLU into one kernel.

    TensorFlow 2.21 with oneDNN computes that kernel wrongly, by whole logits. The pattern is that
    of a residual block without a norm; other networks keep the fusions, which are right and fast.
    """
    if model.norm == "none" and model.activation == "leaky_relu":
        import tensorflow as tf

        tf.config.optimizer.set_experimental_options({"remapping": False})
