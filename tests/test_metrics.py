"""Dice of volumes and counts that add up."""

from __future__ import annotations

import numpy as np
import pytest
import tensorflow as tf

from unet3d.metrics import batch_dice_counts, dice, dice_from_counts


def test_dice_by_hand() -> None:
    """Half overlap, both empty, one empty."""
    truth = np.zeros((2, 2, 2, 3), bool)
    prediction = np.zeros_like(truth)
    truth[0, :, :, 0] = True  # 4 voxels
    prediction[:, 0, :, 0] = True  # 4 voxels, 2 shared
    prediction[0, 0, 0, 2] = True
    np.testing.assert_allclose(dice(truth, prediction), [0.5, 1, 0])


def test_shapes_must_agree() -> None:
    """Broadcasting would give a plausible and wrong number."""
    with pytest.raises(ValueError, match="truth is"):
        dice(np.zeros((2, 2, 2, 1), bool), np.zeros((2, 2, 2, 3), bool))


def test_sigmoid_counts_give_the_volume_dice() -> None:
    """Training and evaluation report one number for one prediction."""
    rng = np.random.default_rng(0)
    truth = rng.random((2, 5, 6, 7, 3)) < 0.3
    logits = rng.normal(size=truth.shape).astype(np.float32)
    counts = batch_dice_counts(truth.astype(np.float32), logits, exclusive=False)
    np.testing.assert_allclose(
        dice_from_counts(counts), dice(truth.reshape(-1, 1, 1, 3), logits.reshape(-1, 1, 1, 3) > 0)
    )


def test_softmax_counts_take_the_largest_logit() -> None:
    """Also where no logit, or every logit, is above 0."""
    logits = np.array([[-3, -1, -2], [5, 4, 9]], np.float32).reshape(1, 2, 1, 1, 3)
    truth = np.array([[0, 1, 0], [1, 0, 0]], np.float32).reshape(1, 2, 1, 1, 3)
    np.testing.assert_array_equal(
        batch_dice_counts(truth, logits, exclusive=True), [[0, 1, 0], [1, 1, 0], [0, 1, 1]]
    )


def test_counts_of_parts_add_up_to_the_whole() -> None:
    """Replicas and steps may be summed in any split, in a traced function too."""
    rng = np.random.default_rng(1)
    truth = (rng.random((4, 3, 4, 5, 2)) < 0.5).astype(np.float32)
    logits = rng.normal(size=truth.shape).astype(np.float32)
    counts = tf.function(batch_dice_counts)
    whole = np.array(counts(truth, logits, False))
    parts = sum(np.array(counts(truth[i : i + 2], logits[i : i + 2], False)) for i in (0, 2))
    np.testing.assert_array_equal(parts, whole)


def test_counts_are_exact_beyond_float32() -> None:
    """A batch of whole volumes has more voxels than float32 can count one by one."""
    shape = (1, 260, 256, 256, 1)  # 17 million
    ones = tf.ones(shape)
    intersection, truth, prediction = batch_dice_counts(ones, ones, exclusive=False)
    assert float(intersection[0]) == float(truth[0]) == float(prediction[0]) == 260 * 256 * 256


@pytest.mark.parametrize("exclusive", [True, False])
def test_ignored_voxels_are_in_no_count(exclusive: bool) -> None:
    """Neither as truth nor as a prediction."""
    rng = np.random.default_rng(0)
    truth = np.eye(3, dtype=np.float32)[rng.integers(0, 3, (2, 5, 6, 7))]
    logits = rng.normal(size=truth.shape).astype(np.float32)
    unknown = truth.copy()
    unknown[:, 3:] = -1
    found = batch_dice_counts(unknown, logits, exclusive, ignores=True)
    expected = batch_dice_counts(truth[:, :3], logits[:, :3], exclusive)
    for counted, wanted in zip(found, expected, strict=True):
        np.testing.assert_array_equal(counted, wanted)
