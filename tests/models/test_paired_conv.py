"""Protects convolutions in pairs: results and gradients are those of Keras' layer."""

from __future__ import annotations

from typing import Any

import keras
import numpy as np
import pytest
import tensorflow as tf
from keras import layers

from unet3d.models.paired_conv import Conv3D

SHAPE = (2, 5, 4, 6)  # z is even


def made(channels: int, filters: int = 8, **settings: Any) -> tuple[Any, Any]:
    """Keras' layer and ours, with the same weights."""
    options = {"padding": "same", "use_bias": False, **settings}
    pair = layers.Conv3D(filters, 3, **options), Conv3D(filters, 3, **options)
    for layer in pair:
        layer.build((*SHAPE, channels))
    pair[1].set_weights(pair[0].get_weights())
    return pair


def run(layer: Any, x: np.ndarray) -> tuple[np.ndarray, list[np.ndarray], set[str]]:
    """The output, the gradients of a weighted sum of it, and the shapes of what was convolved."""

    @tf.function
    def both(x: Any) -> tuple[Any, list[Any]]:
        with tf.GradientTape() as tape:
            tape.watch(x)
            y = layer(x)
        weights = tf.cast(np.random.default_rng(2).normal(size=(*x.shape[:-1], 8)), y.dtype)
        return y, tape.gradient(y, [x, layer.kernel.value], output_gradients=weights)

    graph = both.get_concrete_function(tf.TensorSpec(x.shape, tf.float32)).graph
    kernels = {str(op.inputs[1].shape[2]) for op in graph.get_operations() if op.type == "Conv3D"}
    y, gradients = both(tf.constant(x))
    return y.numpy(), [each.numpy() for each in gradients], kernels


def volumes(channels: int, z: int = 6) -> np.ndarray:
    random = np.random.default_rng(0)
    return random.normal(size=(*SHAPE[:-1], z, channels)).astype(np.float32)


@pytest.mark.parametrize("channels", [4, 8, 16])
def test_values_and_gradients_are_those_of_keras(channels: int) -> None:
    """With few and with many channels, whose gradient is computed another way."""
    theirs, ours = made(channels)
    expected, found = run(theirs, volumes(channels)), run(ours, volumes(channels))
    np.testing.assert_allclose(found[0], expected[0], atol=1e-5)
    for one, other in zip(found[1], expected[1], strict=True):
        np.testing.assert_allclose(one, other, atol=1e-5 * np.abs(other).max())
    assert expected[2] == {"3"}
    assert found[2] == {"4"}  # it was indeed computed in pairs


def test_half_precision_rounds_as_keras_does() -> None:
    """Kernel and gradients in 16 bits, the variable's gradient in 32.

    As near to float32 as Keras, within a factor of two: without AVX-512 TensorFlow sums in 16 bits.
    """
    theirs, ours = made(8, dtype="mixed_bfloat16")
    full = made(8)[0]
    full.set_weights(theirs.get_weights())
    exact = run(full, volumes(8))
    expected, found = run(theirs, volumes(8)), run(ours, volumes(8))
    assert found[0].dtype == expected[0].dtype == tf.bfloat16.as_numpy_dtype
    assert found[1][1].dtype == expected[1][1].dtype
    for one, other, right in zip(
        (found[0], found[1][1]), (expected[0], expected[1][1]), (exact[0], exact[1][1]), strict=True
    ):
        error, allowed = (np.abs(each.astype(np.float32) - right).max() for each in (one, other))
        assert 0 < allowed < 2**-3 * np.abs(right).max()
        assert error <= max(2 * allowed, 2**-6 * np.abs(right).max())


@pytest.mark.parametrize("case", ["odd", "many", "bias", "GPU"])
def test_the_rest_is_left_to_keras(case: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """An odd z, full vectors, a bias, which is fused with what follows, and a GPU."""
    if case == "GPU":
        monkeypatch.setattr("unet3d.machine.opened_gpus", lambda: ["a GPU"])
    layer = made(4, 16 if case == "many" else 8, use_bias=case == "bias")[1]
    spec = tf.TensorSpec((*SHAPE[:-1], 5 if case == "odd" else 6, 4), tf.float32)
    graph = tf.function(layer).get_concrete_function(spec).graph
    kernels = [op.inputs[1].shape[2] for op in graph.get_operations() if op.type == "Conv3D"]
    assert kernels == [3]


def test_sizes_may_be_unknown() -> None:
    """A network is built for volumes of any size; which sizes a call has decides."""
    image = keras.Input((None, None, None, 4))
    network = keras.Model(image, made(4)[1](image))
    assert network.output.shape == (None, None, None, None, 8)
    for z in (5, 6):
        assert network(volumes(4, z)).shape == (*SHAPE[:-1], z, 8)
