"""A trained network in forms that predict faster and compute the same function.

`fold_norms` leaves the batch norms out: on any device. `pair_convolutions` then has convolutions
with few filters compute two neighbouring voxels at once: on a CPU, whose vectors they leave empty.
"""

from __future__ import annotations

import re
from dataclasses import replace
from typing import Any

import keras
import numpy as np
from keras import layers, ops

from unet3d.config.schema import ModelConfig
from unet3d.config.target import OWN
from unet3d.models import build_model
from unet3d.models.paired_conv import gains_from_pairs, paired_kernel

# Each norm follows the convolution of its name, and nothing else.
FOLDED = ("unet3d", "resunet", "resenc")


def can_fold(model: ModelConfig) -> bool:
    """Whether `fold_norms` applies: to norms whose statistics are fixed once training has ended."""
    return model.name in FOLDED and model.norm in ("batch", "sync_batch")


def fold_norms(network: keras.Model, model: ModelConfig) -> keras.Model:
    """A network without batch norms, each folded into the convolution before it.

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
    trained = {layer.name: layer for layer in network.layers}
    for layer in folded.layers:
        if not layer.weights:
            continue
        weights = trained[layer.name].get_weights()
        norm = trained.get(layer.name.removesuffix("_conv") + "_norm")
        if norm is not None:
            gamma, beta, mean, variance = norm.get_weights()
            scale = gamma / np.sqrt(variance + norm.epsilon)
            weights = [weights[0] * scale, beta - mean * scale]
        layer.set_weights(weights)
    return folded


def pair_convolutions(network: keras.Model, model: ModelConfig) -> keras.Model:
    """A network whose convolutions with few filters are `PairedConv3D`; weights are copied.

    network: built of `model`, with norms or without. A network of the user's own stays as it is:
    its layers do not say which level they are of.
    """
    if model.name == OWN:
        return network

    def clone(layer: Any) -> Any:
        if gains_from_pairs(layer) and _halved_below(layer.name, model):
            return PairedConv3D(layer.filters, name=layer.name, dtype=layer.dtype_policy)
        return layer.__class__.from_config(layer.get_config())

    paired = keras.models.clone_model(network, clone_function=clone)
    for layer in paired.layers:
        weights = network.get_layer(layer.name).get_weights()
        layer.set_weights(_for_pairs(*weights) if isinstance(layer, PairedConv3D) else weights)
    return paired


def _halved_below(layer: str, model: ModelConfig) -> bool:
    """Whether z is even at the level of a layer such as enc2_0_conv, being halved further down."""
    found = re.match(r"(?:enc|dec)(\d+)_", layer)
    level = int(found[1]) if found else 0
    return model.stride[2] // model.level_stride(level)[2] % 2 == 0


class PairedConv3D(layers.Layer):
    """A 3x3x3 'same' convolution as one of 3x3x4 and stride 2 along z, with twice the filters.

    Its two halves are the outputs of two neighbours along z, so that the result, read in its
    order, is (batch, x, y, z, filters). z must be even. Weights are set by `pair_convolutions`.
    """

    def __init__(self, filters: int, **settings: Any):
        super().__init__(**settings)
        self.filters = filters

    def build(self, shape: tuple[int | None, ...]) -> None:
        """shape: (batch, x, y, z, channels)."""
        self.kernel = self.add_weight(
            shape=(3, 3, 4, shape[-1], 2 * self.filters), name="kernel", trainable=False
        )
        self.bias = self.add_weight(shape=(2 * self.filters,), name="bias", trainable=False)

    def call(self, x: Any) -> Any:
        """(batch, x, y, z, channels) -> (batch, x, y, z, filters)."""
        pairs = ops.conv(x, self.kernel, strides=(1, 1, 2), padding="same")
        pairs = ops.add(pairs, ops.reshape(self.bias, (1, 1, 1, 1, -1)))
        return ops.reshape(pairs, (*ops.shape(x)[:-1], self.filters))

    def compute_output_shape(self, shape: tuple[int | None, ...]) -> tuple[int | None, ...]:
        """The input's, with `filters` channels."""
        return (*shape[:-1], self.filters)


def _for_pairs(kernel: np.ndarray, bias: np.ndarray | None = None) -> list[np.ndarray]:
    """Kernel and bias of both neighbours."""
    filters = kernel.shape[-1]
    return [paired_kernel(kernel), np.tile(np.zeros(filters) if bias is None else bias, 2)]
