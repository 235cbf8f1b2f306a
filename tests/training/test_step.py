"""What an update does beside the optimizer's own arithmetic, which Keras tests."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import keras
import numpy as np
import pytest
import tensorflow as tf

from tests.small import small_config
from unet3d.sampling.targets import Targets
from unet3d.training.optimizer import make_optimizer
from unet3d.training.state import TrainState, make_state
from unet3d.training.step import make_train_step

TARGETS = Targets(("lesion",), np.array([[0], [1]], np.float32), exclusive=False)
IMAGES = np.random.default_rng(0).normal(size=(2, 4, 4, 4, 1)).astype(np.float32)
LABELS = (IMAGES[..., 0] > 0).astype(np.uint8)


@pytest.fixture(autouse=True)
def policy() -> Iterator[None]:
    """Mixed precision is a global setting of Keras: put it back."""
    yield
    keras.config.set_dtype_policy("float32")


def one_voxel_network() -> keras.Model:
    """A 1x1x1 convolution, which every precision can compute on a CPU."""
    keras.utils.set_random_seed(0)
    image = keras.Input((4, 4, 4, 1))
    logits = keras.layers.Conv3D(1, 1)(image)
    return keras.Model(image, keras.layers.Activation("linear", dtype="float32")(logits))


def values(state: TrainState) -> list[np.ndarray]:
    return [np.array(v.numpy()) for v in state.model.trainable_variables]


def test_overflow_skips_the_update_and_halves_the_scale(tmp_path: Path) -> None:
    """A float16 overflow costs a step, never the weights; the next step is taken."""
    keras.config.set_dtype_policy("mixed_float16")
    config = small_config(tmp_path, "precision=mixed_float16", "optimizer=sgd", "lr=0.1")
    state = make_state(
        one_voxel_network(), make_optimizer(config.optimizer, 0.1), scaled=True, ema=None
    )
    assert state.loss_scale is not None
    step = make_train_step(state, config, TARGETS, tf.distribute.get_strategy())
    before = values(state)
    state.loss_scale.factor.assign(1e30)
    step(IMAGES, LABELS)
    assert float(state.loss_scale.factor) == pytest.approx(5e29)
    assert int(state.loss_scale.good_steps) == 0
    assert all(np.array_equal(a, b) for a, b in zip(before, values(state), strict=True))
    state.loss_scale.factor.assign(2.0**10)
    step(IMAGES, LABELS)
    assert int(state.loss_scale.good_steps) == 1
    assert not any(np.array_equal(a, b) for a, b in zip(before, values(state), strict=True))


def test_overflow_of_the_forward_pass_leaves_the_statistics(tmp_path: Path) -> None:
    """Those of an overflow would spoil the network for good; the next step moves them."""
    config = small_config(tmp_path, "optimizer=sgd", "lr=0.1")
    image = keras.Input((4, 4, 4, 1))
    network = keras.Model(image, keras.layers.BatchNormalization()(image))
    optimizer = make_optimizer(config.optimizer, 0.1)
    state = make_state(network, optimizer, scaled=True, ema=None)
    step = make_train_step(state, config, TARGETS, tf.distribute.get_strategy())
    before = [np.array(value) for value in network.non_trainable_variables]
    assert not np.isfinite(step(np.full_like(IMAGES, np.inf), LABELS).loss)
    after = [np.array(value) for value in network.non_trainable_variables]
    assert len(before) == 2 and all(map(np.array_equal, before, after))
    assert np.isfinite(step(IMAGES, LABELS).loss)
    assert not np.array_equal(before[0], np.array(network.non_trainable_variables[0]))


@pytest.mark.parametrize("limit", [1e-3, 1e3])
def test_clip_norm_bounds_the_whole_gradient(tmp_path: Path, limit: float) -> None:
    """With plain SGD the update's length is lr times the gradient's, cut at the limit."""
    config = small_config(tmp_path, "optimizer=sgd", "optimizer.momentum=0")
    free = small_config(tmp_path, "optimizer=sgd", "optimizer.momentum=0")
    config.optimizer.clip_norm = limit
    lengths = []
    for settings in (free, config):
        optimizer = make_optimizer(settings.optimizer, 1.0)
        state = make_state(one_voxel_network(), optimizer, scaled=False, ema=None)
        before = values(state)
        make_train_step(state, settings, TARGETS, tf.distribute.get_strategy())(IMAGES, LABELS)
        moved = [b - a for a, b in zip(before, values(state), strict=True)]
        lengths.append(float(np.sqrt(sum((m**2).sum() for m in moved))))
    assert lengths[0] > 1e-3
    assert lengths[1] == pytest.approx(min(lengths[0], limit), rel=1e-3)


def test_average_follows_the_weights(tmp_path: Path) -> None:
    """After one step the average is d * initial + (1 - d) * new, and is used only inside."""
    config = small_config(tmp_path, "optimizer=sgd")
    state = make_state(
        one_voxel_network(), make_optimizer(config.optimizer, 0.5), scaled=False, ema=0.99
    )
    before = values(state)
    make_train_step(state, config, TARGETS, tf.distribute.get_strategy())(IMAGES, LABELS)
    after = values(state)
    decay = (1 + 1) / (10 + 1)
    expected = [decay * b + (1 - decay) * a for b, a in zip(before, after, strict=True)]
    with state.averaged():
        inside = values(state)
    for mean, value in zip(expected, inside, strict=True):
        np.testing.assert_allclose(value, mean, rtol=1e-5)
    for a, b in zip(values(state), after, strict=True):
        np.testing.assert_array_equal(a, b)


def test_xla_changes_neither_the_measurements_nor_the_update(tmp_path: Path) -> None:
    """Equal to 1e-5 after three steps of gradient descent."""
    config = small_config(tmp_path, "optimizer=sgd", "lr=0.1")
    measured, weights = [], []
    for xla in (False, True):
        state = make_state(
            one_voxel_network(), make_optimizer(config.optimizer, 0.1), scaled=False, ema=None
        )
        strategy = tf.distribute.get_strategy()
        step = make_train_step(state, config, TARGETS, strategy, xla=xla)
        for _ in range(3):
            result = step(IMAGES, LABELS)
        measured.append([result.loss, *result.counts.ravel()])
        weights.append(np.concatenate([value.ravel() for value in values(state)]))
    np.testing.assert_allclose(measured[0], measured[1], rtol=1e-5)
    np.testing.assert_allclose(weights[0], weights[1], rtol=1e-5)
