"""What happens to gradients between the backward pass and the optimizer, each a plain function."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import tensorflow as tf

from unet3d.training.state import LossScale

Gradients = list[Any]  # a tensor for each trainable weight


def accumulate(
    gradients_of: Callable[[Any, Any], tuple[Gradients, Any, Any]],
    images: Any,
    labels: Any,
    parts: int,
) -> tuple[Gradients, Any, Any]:
    """The sums over `parts` equal parts of a batch, with one part in memory at a time.

    gradients_of: (images, labels) of a part -> (gradients, loss, counts), each a sum over samples.
    """
    batches = zip(tf.split(images, parts), tf.split(labels, parts), strict=True)
    grads, loss, counts = gradients_of(*next(batches))
    for part in batches:
        with tf.control_dependencies([loss, *grads]):  # the next part waits for this one's end
            waiting = [tf.identity(tensor) for tensor in part]
            part_grads, part_loss, part_counts = gradients_of(*waiting)
        grads = [total + more for total, more in zip(grads, part_grads, strict=True)]
        loss, counts = loss + part_loss, counts + part_counts
    return grads, loss, counts


def unscale(grads: Gradients, scale: LossScale | None) -> Gradients:
    """The gradients of the loss, from those of the loss times `scale`'s factor."""
    return [g / scale.factor.value for g in grads] if scale else grads


def all_finite(grads: Gradients) -> Any:
    """Whether no gradient holds an infinity or a NaN: a boolean tensor."""
    return tf.reduce_all([tf.reduce_all(tf.math.is_finite(g)) for g in grads])


def clip(grads: Gradients, max_norm: float | None) -> Gradients:
    """The gradients, scaled down together to a global norm of at most `max_norm`; None: as is."""
    return tf.clip_by_global_norm(grads, max_norm)[0] if max_norm else grads
