"""Patches that travel in 16 bits, as they are in the store: the device widens and mirrors them."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import tensorflow as tf

from unet3d import machine
from unet3d.config.schema import AugmentConfig


def travels_in_16_bits(augment: AugmentConfig) -> bool:
    """Whether the device finishes patches: a GPU does, unless their intensities change before."""
    if augment.intensity_on == "auto":
        return bool(machine.opened_gpus())
    return augment.intensity_on == "device"


def make_widen(strategy: tf.distribute.Strategy) -> Callable[[Any, Any, Any], tuple[Any, Any]]:
    """The compiled finish of each replica's batch: (images, labels, mirrored) -> (images, labels).

    images: (batch, x, y, z, channels) of 16 bits, float32 as a result; labels: uint8
    (batch, x, y, z); mirrored: boolean (batch, 3), along which axes each patch is to be.
    """

    def widen(images: Any, labels: Any, mirrored: Any) -> tuple[Any, Any]:
        # Widened first: a gather of 16 bits or of uint8 has no kernel on some devices.
        images, labels = tf.cast(images, tf.float32), tf.cast(labels, tf.int32)
        return mirror(images, mirrored), tf.cast(mirror(labels, mirrored), tf.uint8)

    @tf.function(autograph=False)
    def widen_all(images: Any, labels: Any, mirrored: Any) -> Any:
        return strategy.run(widen, args=(images, labels, mirrored))

    return widen_all


def mirror(values: Any, mirrored: Any) -> Any:
    """(batch, x, y, z, ...), each along its own axes of `mirrored`, boolean (batch, 3)."""
    for axis in range(3):
        size = values.shape[axis + 1]
        forth = tf.range(size)
        order = tf.where(mirrored[:, axis, tf.newaxis], size - 1 - forth, forth)
        values = tf.gather(values, order, axis=axis + 1, batch_dims=1)
    return values
