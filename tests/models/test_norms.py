"""Protects the norms: they compute what Keras' own layers do, and so do their derivatives."""

from __future__ import annotations

from typing import Any

import keras
import numpy as np
import pytest
import tensorflow as tf
from keras import layers

from unet3d.models.norms import BatchNormalization, GroupNormalization

SHAPE = (3, 5, 4, 6, 8)  # odd and unequal, so that a mixed-up axis shows
EPSILON = 1e-5


def pair(kind: str, dtype: str) -> tuple[Any, Any]:
    """Keras' layer and ours, with the same weights, not those that they begin with."""
    options: dict[str, Any] = {"epsilon": EPSILON, "dtype": dtype}
    if kind == "batch":
        made = (
            layers.BatchNormalization(momentum=0.9, **options),
            BatchNormalization(momentum=0.9, **options),
        )
    else:
        groups = int(kind)
        made = layers.GroupNormalization(groups, **options), GroupNormalization(groups, **options)
    random = np.random.default_rng(1)
    for layer in made:
        layer.build(SHAPE)
    weights = [random.uniform(0.5, 2, each.shape) for each in made[0].get_weights()]
    for layer in made:
        layer.set_weights(weights)
    return made


def run(layer: Any, x: Any, **call: Any) -> tuple[Any, list[Any]]:
    """The output, and the gradients of a weighted sum of it, by input and weights."""
    weights = tf.cast(np.random.default_rng(2).normal(size=x.shape), x.dtype)

    @tf.function
    def both(x: Any) -> tuple[Any, list[Any]]:
        with tf.GradientTape() as tape:
            tape.watch(x)
            y = layer(x, **call)
        sources = [x, *(v.value for v in layer.trainable_variables)]
        return y, tape.gradient(y, sources, output_gradients=weights)

    y, gradients = both(x)
    return y.numpy(), [each.numpy() for each in gradients]


def volumes(dtype: str = "float32") -> Any:
    """Samples whose channels have unlike means and deviations, far from 0 and 1."""
    random = np.random.default_rng(0)
    scale, shift = random.uniform(0.1, 30, (3, 1, 1, 1, 8)), random.normal(0, 50, (3, 1, 1, 1, 8))
    return tf.cast(random.normal(size=SHAPE) * scale + shift, dtype)


@pytest.mark.parametrize("kind", ["batch", "1", "4", "8"])
def test_values_and_gradients_are_those_of_keras(kind: str) -> None:
    """Batch, layer, group and instance norm: the results of a training do not change."""
    theirs, ours = pair(kind, "float32")
    call = {"training": True} if kind == "batch" else {}
    expected, expected_gradients = run(theirs, volumes(), **call)
    found, gradients = run(ours, volumes(), **call)
    np.testing.assert_allclose(found, expected, atol=1e-5 * np.abs(expected).max())
    for one, other in zip(gradients, expected_gradients, strict=True):
        np.testing.assert_allclose(one, other, atol=1e-5 * np.abs(other).max())
    for one, other in zip(ours.get_weights(), theirs.get_weights(), strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-5)  # the moving statistics among them


@pytest.mark.parametrize("kind", ["batch", "4"])
def test_half_precision_is_computed_in_float32(kind: str) -> None:
    """Statistics in 16 bits would be off by a percent; only the result is rounded."""
    theirs, ours = pair(kind, "mixed_bfloat16")
    call = {"training": True} if kind == "batch" else {}
    x = volumes("bfloat16")
    (expected, _), (found, gradients) = run(theirs, x, **call), run(ours, x, **call)
    assert found.dtype == expected.dtype == tf.bfloat16.as_numpy_dtype
    exact = run(pair(kind, "float32")[1], tf.cast(x, tf.float32), **call)[0]
    np.testing.assert_allclose(found.astype(np.float32), exact, rtol=2**-8, atol=1e-5)
    assert [each.dtype for each in gradients[1:]] == [np.float32, np.float32]


def test_statistics_by_sums_as_on_a_gpu(monkeypatch: pytest.MonkeyPatch) -> None:
    """On a GPU, where a matrix product may be of TF32, sums take its place."""
    expected = run(pair("4", "float32")[1], volumes())
    monkeypatch.setattr("unet3d.machine.opened_gpus", lambda: ["a GPU"])
    y, gradients = run(pair("4", "float32")[1], volumes())
    np.testing.assert_allclose(y, expected[0], atol=1e-5)
    for one, other in zip(gradients, expected[1], strict=True):
        np.testing.assert_allclose(one, other, atol=1e-5 * np.abs(other).max())


def test_inference_uses_the_moving_statistics() -> None:
    """Batch norm outside of training, or frozen, does not look at the batch."""
    theirs, ours = pair("batch", "float32")
    expected = theirs(volumes(), training=False).numpy()
    np.testing.assert_array_equal(ours(volumes(), training=False).numpy(), expected)
    ours.trainable = False
    before = ours.get_weights()
    np.testing.assert_array_equal(ours(volumes(), training=True).numpy(), expected)
    for one, other in zip(ours.get_weights(), before, strict=True):
        np.testing.assert_array_equal(one, other)


@pytest.mark.parametrize("norm", [BatchNormalization(), GroupNormalization(4)])
def test_sizes_may_be_unknown(norm: Any) -> None:
    """A network is built for volumes of any size, and its output keeps what is known of it."""
    image = keras.Input((None, None, None, 8))
    network = keras.Model(image, norm(image))
    assert network.output.shape == (None, None, None, None, 8)
    assert network(np.ones(SHAPE, np.float32), training=True).shape == SHAPE
