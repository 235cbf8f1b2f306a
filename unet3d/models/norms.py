"""Normalisation with a gradient of its own: a few passes over the activations, not two dozen.

Keras writes a norm as single operations, and so does its derivative: each reads and writes all
activations, and sums over a handful of channels at a time leave a CPU's vectors empty. Here the
derivative is written out (Ioffe & Szegedy 2015; Wu & He 2018), and a row of voxels with all their
channels is one long vector.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import tensorflow as tf
from keras import layers

from unet3d import machine

Sums = Callable[[Any], Any]


class BatchNormalization(layers.BatchNormalization):
    """Keras' layer, faster in training; in inference, and between replicas, it is Keras' own."""

    def call(self, inputs: Any, training: bool | None = None, mask: Any = None) -> Any:
        """inputs: (batch, x, y, z, channels)."""
        if not (training and self.trainable) or self.synchronized:
            return super().call(inputs, training=training, mask=mask)
        y, mean, variance = _normalize(inputs, self.gamma, self.beta, self.epsilon, None)
        for moving, now in ((self.moving_mean, mean), (self.moving_variance, variance)):
            moving.assign(moving * self.momentum + now[0] * (1.0 - self.momentum))
        return tf.cast(y, self.compute_dtype)


class GroupNormalization(layers.GroupNormalization):
    """Keras' layer, faster; with a group for each channel it is instance norm."""

    def call(self, inputs: Any) -> Any:
        """inputs: (batch, x, y, z, channels)."""
        y, _, _ = _normalize(inputs, self.gamma, self.beta, self.epsilon, self.groups)
        return tf.cast(y, self.compute_dtype)


def _normalize(
    inputs: Any, gamma: Any, beta: Any, epsilon: float, groups: int | None
) -> tuple[Any, Any, Any]:
    """`inputs` with mean 0 and variance 1, times `gamma`, plus `beta`.

    inputs: (batch, x, y, z, channels), of any precision; the computation is in float32. groups: of
    channels that share their statistics within a sample; None: each channel's are of the batch.
    Returns the result, and mean and variance, (batch or 1, channels), which have no gradient.
    """
    shape = tf.shape(inputs)
    samples = shape[0] if groups else 1
    channels = inputs.shape[-1]
    size = shape[3]  # voxels of a vector
    rows = tf.size(inputs) // (samples * size * channels)
    long = [samples, rows, size * channels]
    shared = channels // groups if groups else 1  # channels that are pooled
    count = tf.cast(rows * size * shared, tf.float32)
    add_up = _add_up(rows)

    def sums(x: Any) -> Any:
        """(samples, rows, size * channels) -> (samples, channels)."""
        return tf.reduce_sum(tf.reshape(add_up(x), [samples, size, channels]), axis=1)

    def pooled(x: Any) -> Any:
        """Each channel's value replaced by the sum over its group."""
        if shared == 1:
            return x
        of_group = tf.reduce_sum(tf.reshape(x, [samples, groups, shared]), axis=-1)
        return tf.repeat(of_group, shared, axis=-1)

    def spread(x: Any) -> Any:
        """(samples, channels) -> (samples, 1, size * channels)."""
        return tf.tile(x, [1, size])[:, None]

    def read(x: Any) -> Any:
        return tf.reshape(tf.cast(x, tf.float32), long)

    @tf.custom_gradient
    def normalized(inputs: Any, gamma: Any, beta: Any) -> Any:
        x = read(inputs)
        mean = pooled(sums(x)) / count
        variance = pooled(sums(tf.math.squared_difference(x, spread(mean)))) / count
        inverse = tf.math.rsqrt(variance + epsilon)
        factor = gamma * inverse
        y = x * spread(factor) + spread(beta - mean * factor)

        def gradient(y_gradient: Any, *_: Any) -> tuple[Any, Any, Any]:
            x, dy = read(inputs), read(y_gradient)
            d_beta = sums(dy)
            d_gamma = (sums(dy * x) - mean * d_beta) * inverse
            # dx = inverse * (gamma dy - mean(gamma dy) - xhat * mean(gamma dy xhat))
            slope = -(inverse**2) * pooled(gamma * d_gamma) / count
            shift = -inverse * pooled(gamma * d_beta) / count - mean * slope
            dx = dy * spread(factor) + (x * spread(slope) + spread(shift))
            dx = tf.cast(tf.reshape(dx, shape), inputs.dtype)
            return dx, tf.reduce_sum(d_gamma, axis=0), tf.reduce_sum(d_beta, axis=0)

        y = tf.cast(tf.reshape(y, shape), inputs.dtype)
        return (tf.ensure_shape(y, inputs.shape), mean, variance), gradient

    y, mean, variance = normalized(inputs, tf.convert_to_tensor(gamma), tf.convert_to_tensor(beta))
    return y, tf.stop_gradient(mean), tf.stop_gradient(variance)


def _add_up(rows: Any) -> Sums:
    """(samples, rows, n) -> (samples, 1, n), summed by what is fast on this device."""
    if machine.opened_gpus():  # where a product might be computed in TF32
        return lambda x: tf.reduce_sum(x, axis=1, keepdims=True)
    return lambda x: tf.matmul(tf.ones([tf.shape(x)[0], 1, rows]), x)
