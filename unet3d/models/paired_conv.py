"""A convolution with few filters that computes two neighbouring voxels at once, for CPUs.

oneDNN computes 16 output channels in one vector; with 8 filters or fewer half of it idles. A 3x3x3
kernel, written twice into one of 3x3x4, one voxel further along z the second time, has twice the
filters and takes steps of two voxels: the result, read in its order, is that of the convolution.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import tensorflow as tf
from keras import layers

from unet3d import machine

VECTOR_CHANNELS = 16
EACH_PAIR = (1, 1, 1, 2, 1)  # strides (batch, x, y, z, channels)


class Conv3D(layers.Conv3D):
    """Keras' layer with the same weights; on a CPU in pairs, where that is faster."""

    def call(self, inputs: Any) -> Any:
        """(batch, x, y, z, channels) -> (batch, x, y, z, filters)."""
        if self.use_bias or not _pairs(self, inputs) or machine.opened_gpus():
            return super().call(inputs)
        return _convolve(inputs, tf.convert_to_tensor(self.kernel))


def gains_from_pairs(layer: Any) -> bool:
    """Whether a layer is a 3x3x3 convolution that leaves half of a vector idle."""
    return (
        isinstance(layer, layers.Conv3D)
        and not isinstance(layer, layers.Conv3DTranspose)
        and layer.kernel_size == (3, 3, 3)
        and layer.strides == (1, 1, 1)
        and layer.filters <= VECTOR_CHANNELS // 2
    )


def paired_kernel(kernel: Any) -> Any:
    """(3, 3, 3, channels, filters) -> (3, 3, 4, channels, 2 * filters): both neighbours."""
    rest = [[0, 0]] * 2
    both = (tf.pad(kernel, [*rest, beside, *rest]) for beside in ([0, 1], [1, 0]))
    return tf.concat(list(both), axis=-1)


def _pairs(layer: Any, inputs: Any) -> bool:
    size = inputs.shape[3]
    return gains_from_pairs(layer) and size is not None and size % 2 == 0


def _pairwise(x: Any, kernel: Any) -> Any:
    """The 'same' convolution; z must be even."""
    pairs = tf.nn.conv3d(x, paired_kernel(kernel), EACH_PAIR, "SAME")
    return tf.reshape(pairs, tf.concat([tf.shape(x)[:-1], kernel.shape[-1:]], axis=0))


@tf.custom_gradient
def _convolve(x: Any, kernel: Any) -> Any:
    channels, filters = kernel.shape[3:]

    def gradient(dy: Any) -> tuple[Any, Any]:
        if channels <= VECTOR_CHANNELS // 2:  # again a convolution with few filters
            dx = _pairwise(dy, tf.transpose(tf.reverse(kernel, [0, 1, 2]), [0, 1, 2, 4, 3]))
        else:
            dx = tf.raw_ops.Conv3DBackpropInputV2(
                input_sizes=tf.shape(x),
                filter=kernel,
                out_backprop=dy,
                strides=[1] * 5,
                padding="SAME",
            )
        batch, *size = tf.unstack(tf.shape(x)[:-1])
        of_pairs = tf.raw_ops.Conv3DBackpropFilterV2(
            input=x,
            filter_sizes=np.array([3, 3, 4, channels, 2 * filters], np.int32),
            out_backprop=tf.reshape(dy, [batch, *size[:2], size[2] // 2, 2 * filters]),
            strides=list(EACH_PAIR),
            padding="SAME",
        )
        both = of_pairs[:, :, :3, :, :filters] + of_pairs[:, :, 1:, :, filters:]
        return tf.ensure_shape(dx, x.shape), both

    y = _pairwise(x, kernel)
    return tf.ensure_shape(y, [*x.shape[:-1], filters]), gradient
