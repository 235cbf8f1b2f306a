"""Segmentation losses: one value per sample, so that a sum over replicas is one worker's mean."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import tensorflow as tf

from unet3d.config.schema import LossConfig
from unet3d.config.target import OWN, call_target
from unet3d.errors import ConfigError

SPATIAL = (1, 2, 3)
CERTAIN = 100.0  # a logit whose probability is 1 in float32
VOXEL_MEANS = ("ce", "dice_ce", "focal")  # losses that are means over voxels, in part at least
Weights = Sequence[float] | None  # of the outputs, a softmax's background included
Loss = Callable[..., Any]  # (truth, logits or a list of them) -> (batch,)


def halved(level: int) -> tuple[int, int, int]:
    """The stride of a level where each is half the size of the one before."""
    return 2**level, 2**level, 2**level


def make_loss(
    loss: LossConfig,
    exclusive: bool,
    ignores: bool = False,
    level_stride: Callable[[int], Sequence[int]] = halved,
) -> Loss:
    """The loss that `loss.name` chooses, as a function of (truth, logits).

    truth: (batch, x, y, z, outputs) in {0, 1}; logits: the same shape, or a list of them under
    deep supervision. exclusive: outputs are the classes of one softmax, output 0 the background,
    which the overlap losses leave out; else each output is its own sigmoid. ignores: voxels whose
    truth is -1 do not count. level_stride: of the truth's voxels on the levels of deep supervision.
    Returns float32 (batch,). Raises ConfigError for an unknown name.
    """
    of_outputs: dict[str, Any] = {"exclusive": exclusive, "weights": loss.class_weights}
    of_dice = {
        **of_outputs,
        "smooth": loss.smooth,
        "over_batch": loss.batch_dice,
        "squared": loss.squared,
    }
    losses: dict[str, Loss] = {
        "dice": partial(dice_loss, **of_dice),
        "ce": partial(cross_entropy, **of_outputs),
        "dice_ce": partial(dice_cross_entropy, **of_dice, ce_weight=loss.ce_weight),
        "focal": partial(focal_loss, **of_outputs, gamma=loss.gamma, alpha=loss.alpha),
        "tversky": partial(
            tversky_loss,
            **of_outputs,
            smooth=loss.smooth,
            fp_weight=loss.fp_weight,
            fn_weight=loss.fn_weight,
        ),
    }
    if loss.name == OWN:
        chosen: Loss = partial(own_loss, loss, exclusive)
    elif loss.name in losses:
        chosen = losses[loss.name]
    else:
        names = ", ".join(sorted([*losses, OWN]))
        raise ConfigError(f"loss.name: {loss.name!r} is not known; choose one of {names}")
    if ignores:
        chosen = partial(ignoring, chosen, exclusive, loss.name in VOXEL_MEANS)
    return deep_supervision(chosen, level_stride, loss.coarsest)


def own_loss(settings: LossConfig, exclusive: bool, truth: Any, logits: Any) -> Any:
    """What `loss._target_` returns for (truth, logits, exclusive=..., its own arguments).

    Raises ConfigError, with what is expected, unless that is float32 (batch,).
    """
    key, target = "loss._target_", settings._target_
    truth, logits = as_float32(truth, logits)
    value = call_target(key, target, settings.params, truth, logits, exclusive=exclusive)
    shape, dtype = getattr(value, "shape", None), getattr(value, "dtype", type(value).__name__)
    if shape is None or len(shape) != 1 or shape[0] != truth.shape[0] or dtype != tf.float32:
        raise ConfigError(
            f"{key}: {target} returned {getattr(dtype, 'name', dtype)} of shape {shape}; one "
            "float32 value for each sample, of shape (batch,), is expected"
        )
    return value


def check_loss(settings: LossConfig, exclusive: bool, outputs: int) -> None:
    """ConfigError for a loss of the user's own that does not return one value a sample."""
    if settings.name == OWN:
        logits = tf.zeros((2, 8, 8, 8, outputs))
        truth = tf.one_hot(tf.zeros(logits.shape[:-1], tf.int32), outputs)
        own_loss(settings, exclusive, truth, logits)


def ignoring(loss: Loss, exclusive: bool, voxel_mean: bool, truth: Any, logits: Any) -> Any:
    """`loss` without the voxels whose truth is -1: they become background that is certain.

    voxel_mean: whether it is a mean over voxels, then taken over those that are left.
    """
    truth, logits = as_float32(truth, logits)
    ignored = truth[..., :1] < 0
    outputs = truth.shape[-1]
    background = [1.0 if exclusive and index == 0 else 0.0 for index in range(outputs)]
    certain = [CERTAIN if value else -CERTAIN for value in background]
    truth = tf.where(ignored, tf.constant(background), truth)
    logits = tf.where(ignored, tf.constant(certain), logits)
    if not voxel_mean:
        return loss(truth, logits)
    share = tf.reduce_mean(tf.cast(~ignored, tf.float32), (*SPATIAL, 4))
    return loss(truth, logits, counted=tf.maximum(share, 1e-6))


def deep_supervision(
    loss: Loss,
    level_stride: Callable[[int], Sequence[int]] = halved,
    coarsest: bool = True,
) -> Loss:
    """`loss` for a list of logits too, finest first, `level_stride(level)` voxels apart.

    Levels weigh 1, 1/2, 1/4, ... divided by their sum (Isensee et al. 2021). The truth of a
    coarser level is every 2nd, 4th, ... voxel, so it stays in {0, 1}. coarsest: whether the last
    of several levels counts.
    """

    def supervised(truth: Any, logits: Any) -> Any:
        if not isinstance(logits, (list, tuple)):
            return loss(truth, logits)
        weights = level_weights(len(logits), coarsest)
        levels = []
        for level, weight in enumerate(weights):
            x, y, z = level_stride(level)
            levels.append(weight * loss(truth[:, ::x, ::y, ::z], logits[level]))
        return tf.add_n(levels)

    return supervised


def level_weights(levels: int, coarsest: bool = True) -> Sequence[float]:
    """Halving weights that sum to 1; without `coarsest` the last of several is 0."""
    raw = [0.5**level for level in range(levels)]
    if levels > 1 and not coarsest:
        raw[-1] = 0.0
    return [weight / sum(raw) for weight in raw]


def soft_dice(
    truth: Any,
    probability: Any,
    smooth: float = 1e-5,
    over_batch: bool = False,
    squared: bool = True,
) -> Any:
    """Soft Dice of each region (Milletari et al. 2016, eq. 1).

    truth, probability: (batch, x, y, z, regions), in [0, 1]. over_batch: the sums are over the
    whole batch, and every sample has its Dice. squared: Milletari's denominator; else sums of
    probabilities, as in nnU-Net.
    Returns (batch, regions), in [0, 1]; 1 where truth and prediction are both empty.
    """
    overlap = tf.reduce_sum(truth * probability, SPATIAL)
    parts = [tf.square(part) if squared else part for part in (truth, probability)]
    size = tf.add_n([tf.reduce_sum(part, SPATIAL) for part in parts])
    if over_batch:
        shape = tf.shape(overlap)
        overlap, size = (
            tf.broadcast_to(tf.reduce_sum(part, 0, keepdims=True), shape)
            for part in (overlap, size)
        )
    return (2 * overlap + smooth) / (size + smooth)


def dice_loss(
    truth: Any,
    logits: Any,
    *,
    exclusive: bool,
    smooth: float = 1e-5,
    over_batch: bool = False,
    squared: bool = True,
    weights: Weights = None,
) -> Any:
    """1 - the mean soft Dice over the regions; (batch,)."""
    truth, probability = foreground(truth, logits, exclusive)
    dice = soft_dice(truth, probability, smooth, over_batch, squared)
    return 1 - mean_over_outputs(dice, weights, exclusive)


def mean_over_outputs(values: Any, weights: Weights, exclusive: bool) -> Any:
    """The weighted mean of (batch, outputs), which are without a softmax's background; (batch,)."""
    if weights is None:
        return tf.reduce_mean(values, axis=-1)
    own = tf.constant(weights[1:] if exclusive else weights, tf.float32)
    return tf.reduce_sum(values * own, axis=-1) / tf.maximum(tf.reduce_sum(own), 1e-6)


def mean_over_voxels(
    values: Any, truth: Any, weights: Weights, exclusive: bool, counted: Any
) -> Any:
    """The mean over voxels of (batch, x, y, z) with a softmax, else (batch, x, y, z, outputs).

    truth: (batch, x, y, z, outputs). With weights and a softmax, voxels weigh as their class.
    counted: the share of the voxels that the mean is over; the others are background and add
    nothing. Returns (batch,).
    """
    if not exclusive:
        return mean_over_outputs(tf.reduce_mean(values, SPATIAL), weights, exclusive) / counted
    if weights is None:
        return tf.reduce_mean(values, SPATIAL) / counted
    own = tf.reduce_sum(truth * tf.constant(weights, tf.float32), axis=-1)
    whole = tf.reduce_mean(own, SPATIAL) - (1 - counted) * weights[0]
    return tf.reduce_mean(own * values, SPATIAL) / tf.maximum(whole, 1e-6)


def cross_entropy(
    truth: Any, logits: Any, *, exclusive: bool, weights: Weights = None, counted: Any = 1.0
) -> Any:
    """Cross-entropy in nats, mean over voxels (and over outputs of a sigmoid); (batch,).

    weights, counted: see `mean_over_voxels`.
    """
    truth, logits = as_float32(truth, logits)
    if exclusive:
        nats = tf.nn.softmax_cross_entropy_with_logits(truth, logits)
    else:
        nats = tf.nn.sigmoid_cross_entropy_with_logits(truth, logits)
    return mean_over_voxels(nats, truth, weights, exclusive, counted)


def dice_cross_entropy(
    truth: Any,
    logits: Any,
    *,
    exclusive: bool,
    smooth: float = 1e-5,
    over_batch: bool = False,
    squared: bool = True,
    ce_weight: float = 1.0,
    weights: Weights = None,
    counted: Any = 1.0,
) -> Any:
    """Dice loss + ce_weight * cross-entropy (Isensee et al. 2021); (batch,)."""
    own: dict[str, Any] = {"exclusive": exclusive, "weights": weights}
    own_dice: dict[str, Any] = {"smooth": smooth, "over_batch": over_batch, "squared": squared}
    overlap = dice_loss(truth, logits, **own_dice, **own)
    return overlap + ce_weight * cross_entropy(truth, logits, counted=counted, **own)


def focal_loss(
    truth: Any,
    logits: Any,
    *,
    exclusive: bool,
    gamma: float = 2.0,
    alpha: float = 0.25,
    weights: Weights = None,
    counted: Any = 1.0,
) -> Any:
    """Cross-entropy that fades on voxels already right (Lin et al. 2017, eq. 5); (batch,).

    alpha weighs foreground voxels and 1 - alpha the background. The mean is over voxels (and
    over outputs of a sigmoid), not over the positives as in detection.
    """
    truth, logits = as_float32(truth, logits)
    if exclusive:
        nll = tf.nn.softmax_cross_entropy_with_logits(truth, logits)
        # The power's derivative at 0 is infinite for gamma < 1: stay a rounding error away.
        fade = tf.pow(tf.maximum(-tf.math.expm1(-nll), 1e-7), gamma)
        background = truth[..., 0]
        balance = alpha * (1 - background) + (1 - alpha) * background
        return mean_over_voxels(balance * fade * nll, truth, weights, exclusive, counted)
    toward = (2 * truth - 1) * logits  # positive where the output leans to the truth
    nll = tf.nn.softplus(-toward)
    fade = tf.exp(-gamma * tf.nn.softplus(toward))  # (1 - p) ** gamma, from logits
    balance = alpha * truth + (1 - alpha) * (1 - truth)
    return mean_over_voxels(balance * fade * nll, truth, weights, exclusive, counted)


def tversky_loss(
    truth: Any,
    logits: Any,
    *,
    exclusive: bool,
    smooth: float = 1e-5,
    fp_weight: float = 0.3,
    fn_weight: float = 0.7,
    weights: Weights = None,
) -> Any:
    """1 - the mean Tversky index over the regions (Salehi et al. 2017, eq. 4); (batch,).

    fp_weight, fn_weight: of false positives and of false negatives; 0.5 and 0.5 make it Dice.
    """
    truth, probability = foreground(truth, logits, exclusive)
    hits = tf.reduce_sum(truth * probability, SPATIAL)
    false_positives = tf.reduce_sum((1 - truth) * probability, SPATIAL)
    false_negatives = tf.reduce_sum(truth * (1 - probability), SPATIAL)
    errors = fp_weight * false_positives + fn_weight * false_negatives
    return 1 - mean_over_outputs((hits + smooth) / (hits + errors + smooth), weights, exclusive)


def foreground(truth: Any, logits: Any, exclusive: bool) -> tuple[Any, Any]:
    """Truth and probability of the outputs that count for overlap: no softmax background."""
    truth, logits = as_float32(truth, logits)
    if exclusive:
        return truth[..., 1:], tf.nn.softmax(logits)[..., 1:]
    return truth, tf.sigmoid(logits)


def as_float32(truth: Any, logits: Any) -> tuple[Any, Any]:
    """Both in float32: sums over a patch overflow or round away in 16 bits."""
    return tf.cast(truth, tf.float32), tf.cast(logits, tf.float32)
