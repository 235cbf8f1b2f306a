"""The pieces between the backward pass and the optimizer, one by one."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import tensorflow as tf

from unet3d.training.gradients import accumulate, all_finite, clip, unscale
from unet3d.training.state import LossScale


def squared_error(weights: list[tf.Variable]) -> Any:
    """(images, labels) -> gradients, loss and count of a linear model; sums over the samples."""

    def gradients_of(images: Any, labels: Any) -> tuple[list[Any], Any, Any]:
        with tf.GradientTape() as tape:
            given = tf.linalg.matvec(images, weights[0]) + weights[1]
            loss = tf.reduce_sum((given - labels) ** 2)
        return tape.gradient(loss, weights), loss, tf.shape(images)[0]

    return gradients_of


@pytest.mark.parametrize("parts", [1, 2, 4])
def test_parts_add_up_to_the_whole_batch(parts: int) -> None:
    """Gradients, loss and counts in parts are those of the batch in one, compiled as in a step."""
    random = np.random.default_rng(0)
    images = tf.constant(random.normal(size=(8, 3)).astype(np.float32))
    labels = tf.constant(random.normal(size=8).astype(np.float32))
    weights = [tf.Variable([0.5, -1.0, 2.0]), tf.Variable(0.25)]
    gradients_of = squared_error(weights)
    expected, loss, count = gradients_of(images, labels)
    found = tf.function(accumulate)(gradients_of, images, labels, parts)
    for ours, theirs in zip(found[0], expected, strict=True):
        np.testing.assert_allclose(ours, theirs, rtol=1e-5)
    np.testing.assert_allclose(found[1], loss, rtol=1e-6)
    assert int(found[2]) == int(count) == 8


def test_a_part_waits_for_the_one_before() -> None:
    """Otherwise TensorFlow computes all parts at once, and accumulation saves no memory."""
    weights = [tf.Variable([0.5]), tf.Variable(0.25)]

    @tf.function
    def two_parts(images: Any, labels: Any) -> Any:
        return accumulate(squared_error(weights), images, labels, 2)

    shapes = tf.TensorSpec([4, 1]), tf.TensorSpec([4])
    operations = two_parts.get_concrete_function(*shapes).graph.get_operations()
    identities = [o for o in operations if o.type == "Identity" and o.control_inputs]
    assert len(identities) >= 2  # the second part's images and labels


def test_unscale_divides_by_the_factor() -> None:
    """Without a loss scale the gradients are left as they are."""
    grads = [tf.constant([2.0, 8.0])]
    np.testing.assert_array_equal(unscale(grads, LossScale(4.0))[0], [0.5, 2.0])
    assert unscale(grads, None) is grads


@pytest.mark.parametrize(
    ("value", "finite"), [(0.0, True), (3e38, True), (np.inf, False), (-np.inf, False), (np.nan, 0)]
)
def test_one_value_that_is_not_finite_is_found(value: float, finite: bool) -> None:
    """Among several gradients and in any of them: the update would spoil every weight."""
    grads = [tf.ones((2, 2)), tf.constant([1.0, value])]
    assert bool(all_finite(grads)) is bool(finite)
    assert bool(all_finite(grads[::-1])) is bool(finite)


@pytest.mark.parametrize("max_norm", [1.0, 13.0, 100.0])
def test_clip_is_by_the_global_norm(max_norm: float) -> None:
    """As tf.clip_by_global_norm: (3, 4) and 12 have the norm 13 together; None leaves them."""
    grads = [tf.constant([3.0, 4.0]), tf.constant(12.0)]
    expected, norm = tf.clip_by_global_norm(grads, max_norm)
    assert float(norm) == 13
    for ours, theirs, given in zip(clip(grads, max_norm), expected, grads, strict=True):
        np.testing.assert_array_equal(ours, theirs)
        np.testing.assert_allclose(ours, given * min(1.0, max_norm / 13), rtol=1e-6)
    assert clip(grads, None) is grads
