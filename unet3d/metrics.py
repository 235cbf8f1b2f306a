"""Dice of whole volumes, and Dice counts that add up over batches, steps and replicas."""

from __future__ import annotations

from typing import Any

import numpy as np

Counts = tuple[Any, Any, Any]  # intersection, truth and prediction voxels, each (outputs,)


def dice(truth: np.ndarray, prediction: np.ndarray) -> np.ndarray:
    """Dice of each output of one volume (Dice 1945).

    truth, prediction: boolean (x, y, z, outputs).
    Returns float64 (outputs,) in [0, 1]; 1 where both are empty. Raises ValueError where shapes
    differ.
    """
    if truth.shape != prediction.shape:
        raise ValueError(f"truth is {truth.shape} but prediction is {prediction.shape}")
    truth, prediction = truth.astype(bool, copy=False), prediction.astype(bool, copy=False)
    axes = tuple(range(truth.ndim - 1))
    counts = (truth & prediction, truth, prediction)
    return dice_from_counts(
        (
            np.count_nonzero(counts[0], axis=axes),
            np.count_nonzero(counts[1], axis=axes),
            np.count_nonzero(counts[2], axis=axes),
        )
    )


def predicted(truth: Any, logits: Any, exclusive: bool, ignores: bool = False) -> Any:
    """The segmentation of a batch, as `batch_dice_counts` counts it; float32, in {0, 1}."""
    import tensorflow as tf

    if exclusive:
        mask = tf.one_hot(tf.argmax(logits, axis=-1), truth.shape[-1], dtype=tf.float32)
    else:
        mask = tf.cast(logits > 0, tf.float32)
    return mask * tf.cast(truth[..., :1] >= 0, tf.float32) if ignores else mask


def batch_dice_counts(truth: Any, logits: Any, exclusive: bool, ignores: bool = False) -> Counts:
    """Voxel counts of a batch, to be summed over batches and replicas (TensorFlow).

    truth: (batch, x, y, z, outputs) in {0, 1}; logits: the same shape. A voxel is predicted where
    its sigmoid is above 0.5 or, when exclusive, in the output with the largest logit.
    ignores: voxels whose truth is -1 are in no count.
    Returns (intersection, truth, prediction), each float64 (outputs,), whole numbers; a softmax's
    background is output 0.
    """
    import tensorflow as tf

    truth = tf.cast(truth, tf.float32)
    prediction = predicted(truth, logits, exclusive, ignores)
    if ignores:
        truth = tf.maximum(truth, 0)

    def total(mask: Any) -> Any:
        # float32 counts exactly up to 2^24 only: enough for a plane, too little for a batch.
        planes = tf.reduce_sum(mask, axis=(2, 3))
        return tf.reduce_sum(tf.cast(planes, tf.float64), axis=(0, 1))

    return total(truth * prediction), total(truth), total(prediction)


def dice_from_counts(counts: Counts) -> np.ndarray:
    """Dice of each output from summed (intersection, truth, prediction) counts; 1 where empty."""
    intersection, truth, prediction = (np.asarray(count, dtype=np.float64) for count in counts)
    size = truth + prediction
    return np.where(size > 0, 2 * intersection / np.maximum(size, 1), 1.0)
