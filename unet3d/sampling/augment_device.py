"""Intensity changes on the training device, equal to those of unet3d/sampling/augment.py."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import tensorflow as tf

from unet3d import machine
from unet3d.config.schema import AugmentConfig
from unet3d.sampling.augment import TRUNCATE, blur_radius


def on_device(augment: AugmentConfig) -> bool:
    """Whether `augment` changes intensities at all, and on the device."""
    changes = augment.blur, augment.contrast, augment.gamma, augment.noise
    if not any((*changes, augment.brightness, augment.low_resolution)):
        return False
    if augment.intensity_on == "auto":
        return bool(machine.opened_gpus())
    return augment.intensity_on == "device"


def make_intensity_change(
    augment: AugmentConfig, strategy: tf.distribute.Strategy
) -> Callable[[Any, Any, Any], Any]:
    """The compiled change of each replica's batch: (images, amounts, seeds) -> images.

    images: float32 (batch, x, y, z, channels); amounts and seeds: of PatchStream.dataset. The
    result equals the host's, except for the noise, whose random numbers are TensorFlow's and the
    same on every device. On GPUs each patch goes through all changes, and what it does not need is
    dropped: a condition would have the host wait for the GPU, which takes longer.
    """
    radius = blur_radius(augment.blur_sigma[1])
    where = _computed_and_dropped if machine.opened_gpus() else tf.cond

    def change_patch(image: Any, amount: Any, seed: Any) -> Any:
        sigma, factor, exponent, deviation, brightness, share = tf.unstack(amount)
        image = where(sigma > 0, lambda: blur(image, sigma, radius), lambda: image)
        if augment.brightness:
            image = image * brightness
        image = where(factor != 1, lambda: contrast(image, factor), lambda: image)
        if augment.low_resolution:
            image = where(share != 1, lambda: lower_resolution(image, share), lambda: image)
        keeps = augment.gamma_keeps
        image = where(exponent != 1, lambda: gamma(image, exponent, keeps), lambda: image)
        return where(deviation > 0, lambda: image + noise(image, deviation, seed), lambda: image)

    def change_batch(images: Any, amounts: Any, seeds: Any) -> Any:
        each = zip(*map(tf.unstack, (images, amounts, seeds)), strict=True)
        return tf.stack([change_patch(*one) for one in each])

    @tf.function(autograph=False)
    def change(images: Any, amounts: Any, seeds: Any) -> Any:
        return strategy.run(change_batch, args=(images, amounts, seeds))

    return change


def _computed_and_dropped(
    condition: Any, changed: Callable[[], Any], unchanged: Callable[[], Any]
) -> Any:
    """tf.cond, but both are computed."""
    return tf.where(condition, changed(), unchanged())


def blur(image: Any, sigma: Any, radius: int) -> Any:
    """A Gaussian of `sigma` voxels along the three axes; radius: that of the largest one."""
    taps = tf.range(-radius, radius + 1, dtype=tf.float32)
    weights = tf.exp(-0.5 * tf.square(taps / tf.maximum(sigma, 1e-3)))  # 0 for what is dropped
    weights *= tf.cast(tf.abs(taps) <= tf.floor(TRUNCATE * sigma + 0.5), tf.float32)
    weights = tf.unstack(weights / tf.reduce_sum(weights))
    for axis in range(3):
        along = [int(axis == other) for other in range(4)]
        padded = tf.pad(image, [[radius * a] * 2 for a in along], "SYMMETRIC")
        image = tf.add_n(
            [
                weight * tf.slice(padded, [n * a for a in along], image.shape)
                for n, weight in enumerate(weights)
            ]
        )
    return image


def lower_resolution(image: Any, share: Any) -> Any:
    """Keep a share of the voxels along each axis, the nearest, and interpolate between them."""
    for axis in range(3):
        size = float(image.shape[axis])
        kept = tf.maximum(tf.round(size * share), 1.0)
        places = tf.clip_by_value((tf.range(size) + 0.5) * kept / size - 0.5, 0.0, kept - 1)
        before = tf.floor(places)
        weight = tf.reshape(places - before, (-1, *[1] * (3 - axis)))
        low, high = (
            tf.gather(image, tf.cast(tf.floor((place + 0.5) * size / kept), tf.int32), axis=axis)
            for place in (before, tf.minimum(before + 1, kept - 1))
        )
        image = tf.ensure_shape(low + weight * (high - low), image.shape)
    return image


def contrast(image: Any, factor: Any) -> Any:
    """Scale each channel about its mean, within its range."""
    mean = tf.reduce_mean(image, (0, 1, 2))
    low, high = tf.reduce_min(image, (0, 1, 2)), tf.reduce_max(image, (0, 1, 2))
    return tf.clip_by_value((image - mean) * factor + mean, low, high)


def gamma(image: Any, exponent: Any, keeps: bool = False) -> Any:
    """Raise each channel, scaled to [0, 1], to `exponent`, and scale back to its range.

    keeps: then to its mean and standard deviation.
    """
    low, high = tf.reduce_min(image, (0, 1, 2)), tf.reduce_max(image, (0, 1, 2))
    span = tf.maximum(high - low, 1e-7)
    scaled = tf.clip_by_value((image - low) / span, 0.0, 1.0)
    curved = tf.clip_by_value(tf.pow(scaled, exponent) * span + low, low, high)
    if not keeps:
        return curved
    (mean, variance), (moved, other) = (tf.nn.moments(x, (0, 1, 2)) for x in (image, curved))
    factor = tf.sqrt(variance) / tf.maximum(tf.sqrt(other), 1e-7)
    return (curved - moved) * factor + mean


def noise(image: Any, deviation: Any, seed: Any) -> Any:
    """Normal noise of the image's shape."""
    return deviation * tf.random.stateless_normal(image.shape, seed, alg="philox")
