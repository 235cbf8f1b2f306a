"""Losses against plain numpy, on the edges, and under deep supervision."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import tensorflow as tf

from unet3d.config.schema import LossConfig
from unet3d.errors import ConfigError
from unet3d.losses import deep_supervision, level_weights, make_loss, soft_dice

NAMES = ["dice", "dice_ce", "ce", "focal", "tversky"]
SHAPE = (2, 4, 3, 5, 3)


def one_hot(shape: tuple[int, ...], rng: np.random.Generator) -> np.ndarray:
    return np.eye(shape[-1], dtype=np.float32)[rng.integers(0, shape[-1], shape[:-1])]


def sample(exclusive: bool) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(3)
    truth = one_hot(SHAPE, rng) if exclusive else (rng.random(SHAPE) < 0.4).astype(np.float32)
    return truth, rng.normal(size=SHAPE).astype(np.float32) * 2


def probabilities(logits: np.ndarray, exclusive: bool) -> np.ndarray:
    logits = logits.astype(np.float64)
    if exclusive:
        return np.exp(logits) / np.exp(logits).sum(-1, keepdims=True)
    return 1 / (1 + np.exp(-logits))


def expected(name: str, truth: np.ndarray, logits: np.ndarray, exclusive: bool) -> np.ndarray:
    """The textbook formula of each loss, in float64, without regard for stability."""
    p = probabilities(logits, exclusive)
    t = truth.astype(np.float64)
    space = (1, 2, 3)
    if exclusive:
        p_true = (p * t).sum(-1)
        alpha_t = np.where(t[..., 0] > 0, 0.75, 0.25)
        ce = -np.log(p_true).mean(space)
        focal = (alpha_t * (1 - p_true) ** 2 * -np.log(p_true)).mean(space)
    else:
        p_true = np.where(t > 0, p, 1 - p)
        alpha_t = np.where(t > 0, 0.25, 0.75)
        ce = -np.log(p_true).mean((1, 2, 3, 4))
        focal = (alpha_t * (1 - p_true) ** 2 * -np.log(p_true)).mean((1, 2, 3, 4))
    if exclusive:
        p, t = p[..., 1:], t[..., 1:]
    dice = 1 - (2 * (p * t).sum(space) / ((p**2).sum(space) + t.sum(space))).mean(-1)
    hits, fp, fn = ((a * b).sum(space) for a, b in ((p, t), (p, 1 - t), (1 - p, t)))
    tversky = 1 - (hits / (hits + 0.3 * fp + 0.7 * fn)).mean(-1)
    return {
        "dice": dice,
        "ce": ce,
        "dice_ce": dice + 0.5 * ce,
        "focal": focal,
        "tversky": tversky,
    }[name]


@pytest.mark.parametrize("exclusive", [False, True])
@pytest.mark.parametrize("name", NAMES)
def test_matches_its_formula(name: str, exclusive: bool) -> None:
    """One value a sample, equal to the paper's formula."""
    truth, logits = sample(exclusive)
    loss = make_loss(LossConfig(name=name, ce_weight=0.5), exclusive)(truth, logits)
    assert loss.shape == (2,) and loss.dtype == tf.float32
    np.testing.assert_allclose(loss, expected(name, truth, logits, exclusive), rtol=1e-4)


@pytest.mark.parametrize("exclusive", [False, True])
@pytest.mark.parametrize("name", NAMES)
def test_sample_does_not_depend_on_its_batch(name: str, exclusive: bool) -> None:
    """So that sums over replicas divided by the global batch equal one worker's mean."""
    truth, logits = sample(exclusive)
    loss = make_loss(LossConfig(name=name), exclusive)
    apart = [float(loss(truth[i : i + 1], logits[i : i + 1])[0]) for i in range(2)]
    np.testing.assert_allclose(loss(truth, logits), apart, rtol=1e-6)


@pytest.mark.parametrize("gamma", [0.5, 2.0])
@pytest.mark.parametrize("exclusive", [False, True])
@pytest.mark.parametrize("name", NAMES)
def test_extreme_logits_have_finite_gradients(name: str, exclusive: bool, gamma: float) -> None:
    """A diverging or a saturated network must not turn its weights into NaN."""
    truth, logits = sample(exclusive)
    for scale in (0.0, 100.0, 1e4):
        x = tf.constant(logits * scale)
        with tf.GradientTape() as tape:
            tape.watch(x)
            loss = make_loss(LossConfig(name=name, gamma=gamma), exclusive)(truth, x)
        assert np.isfinite(loss).all()
        assert np.isfinite(tape.gradient(loss, x)).all()


@pytest.mark.parametrize("exclusive", [False, True])
@pytest.mark.parametrize("name", NAMES)
def test_right_and_sure_costs_nothing(name: str, exclusive: bool) -> None:
    """The minimum is where it should be, for a patch with and one without any foreground."""
    truth, _ = sample(exclusive)
    empty = np.zeros(SHAPE, np.float32)
    if exclusive:
        empty[..., 0] = 1
    for target in (truth, empty):
        loss = make_loss(LossConfig(name=name), exclusive)(target, 200 * target - 100)
        np.testing.assert_allclose(loss, 0, atol=1e-5)


@pytest.mark.parametrize("name", NAMES)
def test_gradient_points_to_the_truth(name: str) -> None:
    """A step against the gradient raises foreground logits and lowers the background's."""
    truth, _ = sample(False)
    x = tf.zeros(SHAPE)
    with tf.GradientTape() as tape:
        tape.watch(x)
        loss = make_loss(LossConfig(name=name), False)(truth, x)
    gradient = np.asarray(tape.gradient(loss, x))
    assert (gradient[truth == 1] < 0).all() and (gradient[truth == 0] > 0).all()


@pytest.mark.parametrize("exclusive", [True, False])
def test_batch_dice_sums_over_the_batch(exclusive: bool) -> None:
    """One ratio of all samples, for each sample; so an empty sample does not count alone."""
    truth, logits = sample(exclusive)
    loss = make_loss(LossConfig(name="dice", batch_dice=True), exclusive)(truth, logits).numpy()
    p, t = probabilities(logits, exclusive), truth.astype(np.float64)
    p, t = (p[..., 1:], t[..., 1:]) if exclusive else (p, t)
    space = (0, 1, 2, 3)
    dice = 2 * (p * t).sum(space) / ((p**2).sum(space) + t.sum(space))
    np.testing.assert_allclose(loss, np.repeat(1 - dice.mean(), 2), rtol=1e-4)


@pytest.mark.parametrize("exclusive", [True, False])
def test_class_weights_are_of_outputs_and_of_voxels(exclusive: bool) -> None:
    """Means over outputs; a softmax's voxels weigh as their class, divided by all their weights."""
    truth, logits = sample(exclusive)
    weights = [0.5, 1.0, 3.0]
    p, t = probabilities(logits, exclusive), truth.astype(np.float64)
    space = (1, 2, 3)
    if exclusive:
        own = t @ weights
        ce = (own * -np.log((p * t).sum(-1))).sum(space) / own.sum(space)
        p, t, of_dice = p[..., 1:], t[..., 1:], weights[1:]
    else:
        nats = -np.log(np.where(t > 0, p, 1 - p)).mean(space)
        ce, of_dice = np.average(nats, axis=-1, weights=weights), weights
    dice = 2 * (p * t).sum(space) / ((p**2).sum(space) + t.sum(space))
    expected = 1 - np.average(dice, axis=-1, weights=of_dice) + ce
    loss = make_loss(LossConfig(name="dice_ce", class_weights=weights), exclusive)
    np.testing.assert_allclose(loss(truth, logits), expected, rtol=1e-4)
    for name in NAMES:  # equal weights change nothing
        plain, equal = (
            make_loss(LossConfig(name=name, class_weights=w), exclusive)(truth, logits)
            for w in (None, [2, 2, 2])
        )
        np.testing.assert_allclose(plain, equal, rtol=1e-5)


def test_soft_dice_stays_in_its_range() -> None:
    """0 for disjoint, 1 for equal and for empty regions."""
    truth = np.zeros((1, 2, 2, 2, 3), np.float32)
    truth[0, 0, ..., :2] = 1
    prediction = np.zeros_like(truth)
    prediction[0, 0, ..., 0] = 1
    prediction[0, 1, ..., 1] = 1
    np.testing.assert_allclose(soft_dice(truth, prediction), [[1, 0, 1]], atol=1e-5)


@pytest.mark.parametrize("exclusive", [False, True])
def test_half_precision_logits_are_summed_in_float32(exclusive: bool) -> None:
    """Sums over a patch pass float16's largest number."""
    shape = (1, 48, 48, 48, 2)
    truth = one_hot(shape, np.random.default_rng(0))
    loss = make_loss(LossConfig(name="dice_ce"), exclusive)(truth, tf.zeros(shape, tf.float16))
    assert loss.dtype == tf.float32 and np.isfinite(loss).all()


def test_deep_supervision_weighs_levels() -> None:
    """1, 1/2, 1/4 normalised, each level against the truth at its own resolution."""
    rng = np.random.default_rng(0)
    truth = (rng.random((2, 8, 8, 4, 1)) < 0.5).astype(np.float32)
    logits = [rng.normal(size=(2, 8 // s, 8 // s, 4 // s, 1)).astype(np.float32) for s in (1, 2, 4)]
    single = make_loss(LossConfig(name="dice_ce"), False)
    levels = [single(truth[:, ::s, ::s, ::s], x) for s, x in zip((1, 2, 4), logits, strict=True)]
    np.testing.assert_allclose(level_weights(3), [4 / 7, 2 / 7, 1 / 7])
    np.testing.assert_allclose(
        single(truth, logits),
        4 / 7 * levels[0] + 2 / 7 * levels[1] + 1 / 7 * levels[2],
        rtol=1e-5,
    )


def test_deep_supervision_may_leave_out_the_coarsest() -> None:
    """As in nnU-Net: the last of several levels weighs 0, the others sum to 1; one level counts."""
    np.testing.assert_allclose(level_weights(3, coarsest=False), [2 / 3, 1 / 3, 0])
    np.testing.assert_allclose(level_weights(1, coarsest=False), [1])
    truth, logits = sample(False)
    coarse = logits[:, ::2, ::2, ::2]
    whole = make_loss(LossConfig(name="dice_ce"), False)(truth, logits)
    loss = make_loss(LossConfig(name="dice_ce", coarsest=False), False)
    np.testing.assert_allclose(loss(truth, [logits, coarse]), whole, rtol=1e-6)


@pytest.mark.parametrize("exclusive", [False, True])
def test_dice_with_sums_of_probabilities(exclusive: bool) -> None:
    """loss.squared=false is nnU-Net's denominator, in both losses that have Dice."""
    truth, logits = sample(exclusive)
    p = (tf.nn.softmax(logits) if exclusive else tf.sigmoid(logits)).numpy()
    t = truth[..., 1:] if exclusive else truth
    p, space = p[..., 1:] if exclusive else p, (1, 2, 3)
    dice = (2 * (p * t).sum(space) / (p.sum(space) + t.sum(space))).mean(-1)
    found = {
        name: make_loss(LossConfig(name=name, squared=False), exclusive)(truth, logits)
        for name in ("dice", "dice_ce")
    }
    np.testing.assert_allclose(found["dice"], 1 - dice, rtol=1e-4)
    ce = make_loss(LossConfig(name="ce"), exclusive)(truth, logits)
    np.testing.assert_allclose(found["dice_ce"], 1 - dice + ce, rtol=1e-4)


def test_deep_supervision_of_one_level_is_the_loss() -> None:
    """A tensor, or a list of one, passes unchanged."""

    def loss(truth: Any, logits: Any) -> Any:
        return tf.reduce_sum(truth * logits, (1, 2, 3, 4))

    truth, logits = sample(False)
    whole = loss(truth, logits)
    np.testing.assert_array_equal(deep_supervision(loss)(truth, logits), whole)
    np.testing.assert_array_equal(deep_supervision(loss)(truth, [logits]), whole)


def test_unknown_loss_is_named() -> None:
    """The user reads the key, the value and what is allowed."""
    with pytest.raises(ConfigError, match="loss.name: 'iou' is not known; choose one of ce, dice,"):
        make_loss(LossConfig(name="iou"), False)


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("exclusive", [True, False])
def test_ignored_voxels_are_as_if_they_were_not_there(name: str, exclusive: bool) -> None:
    """A sample with a slab of unknown truth costs what it costs without, and has no gradient."""
    truth, logits = sample(exclusive)
    slab = np.full((2, 3, *SHAPE[2:]), -1, np.float32)
    noise = np.random.default_rng(0).normal(size=slab.shape).astype(np.float32)
    config = LossConfig(name=name, class_weights=[0.5, 1.0, 2.0])
    longer = tf.Variable(np.concatenate([logits, noise], axis=1))
    with tf.GradientTape() as tape:
        loss = make_loss(config, exclusive, ignores=True)(
            np.concatenate([truth, slab], axis=1), longer
        )
    expected = make_loss(config, exclusive)(truth, logits)
    np.testing.assert_allclose(loss, expected, rtol=1e-5)
    gradient = tape.gradient(loss, longer).numpy()
    assert not gradient[:, SHAPE[1] :].any() and gradient[:, : SHAPE[1]].any()
