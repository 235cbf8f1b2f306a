"""A trained network without its batch norms, for inference."""

from __future__ import annotations

from dataclasses import replace

import keras
import numpy as np

from unet3d.config import ModelConfig
from unet3d.models import build_model


def can_fold(model: ModelConfig) -> bool:
    """Whether `fold_norms` applies: to norms whose statistics are fixed once training has ended.

    A residual network with leaky ReLU and no norm is what TensorFlow computes wrongly on a CPU;
    see unet3d/models/fusion.py.
    """
    return model.norm in ("batch", "sync_batch") and model.activation != "leaky_relu"


def fold_norms(network: keras.Model, model: ModelConfig) -> keras.Model:
    """The same function, each batch norm folded into the convolution before it.

    network: as `build_model` made it of `model`, trained. Returns a new network in Keras' global
    dtype policy; its logits are those of the old one up to rounding. A convolution then carries
    its norm's scale and offset, and TensorFlow computes it with bias and activation in one pass.
    """
    folded = build_model(
        replace(model, norm="none"),
        channels=network.input.shape[-1],
        outputs=keras.tree.flatten(network.output)[0].shape[-1],
        seed=0,
    )
    norms = {layer.name for layer in network.layers}
    for layer in folded.layers:
        weights = network.get_layer(layer.name).get_weights()
        name = layer.name.removesuffix("_conv") + "_norm"
        if layer.name.endswith("_conv") and name in norms:
            norm = network.get_layer(name)
            gamma, beta, mean, variance = norm.get_weights()
            scale = gamma / np.sqrt(variance + norm.epsilon)
            weights = [weights[0] * scale, beta - mean * scale]
        layer.set_weights(weights)
    return folded
