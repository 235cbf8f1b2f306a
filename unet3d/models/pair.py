"""Convolutions of few filters, two voxels at a time: faster on CPUs with 16-wide vectors."""

from __future__ import annotations

from typing import Any

import keras
import numpy as np
from keras import layers, ops

from unet3d.config import ModelConfig

LANES = 16  # output channels that oneDNN computes at once; with fewer, lanes idle


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


def pair_convolutions(network: keras.Model, model: ModelConfig) -> keras.Model:
    """The same function, from a network that `model` built; its weights are copied.

    Left as they are: convolutions that fill the vectors, of another size or stride, and those of
    the deepest level, where z may be odd.
    """
    deepest = f"enc{model.depth}_"

    def pays(layer: Any) -> bool:
        return (
            isinstance(layer, layers.Conv3D)
            and not isinstance(layer, layers.Conv3DTranspose)
            and layer.kernel_size == (3, 3, 3)
            and layer.strides == (1, 1, 1)
            and layer.filters <= LANES // 2
            and not layer.name.startswith(deepest)
        )

    def clone(layer: Any) -> Any:
        if pays(layer):
            return PairedConv3D(layer.filters, name=layer.name, dtype=layer.dtype_policy)
        return layer.__class__.from_config(layer.get_config())

    paired = keras.models.clone_model(network, clone_function=clone)
    for layer in paired.layers:
        weights = network.get_layer(layer.name).get_weights()
        layer.set_weights(_paired(*weights) if isinstance(layer, PairedConv3D) else weights)
    return paired


def _paired(kernel: np.ndarray, bias: np.ndarray | None = None) -> list[np.ndarray]:
    """Kernel and bias of both neighbours: the second's window is one voxel further along z."""
    x, y, z, channels, filters = kernel.shape
    both: np.ndarray = np.zeros((x, y, z + 1, channels, 2 * filters), kernel.dtype)
    both[:, :, :z, :, :filters] = kernel
    both[:, :, 1:, :, filters:] = kernel
    return [both, np.tile(np.zeros(filters) if bias is None else bias, 2)]
