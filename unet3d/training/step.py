"""The training step: batch in; loss, gradients, update and measurements out."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import tensorflow as tf

from unet3d.config import Config
from unet3d.data.targets import Targets
from unet3d.losses import make_loss
from unet3d.metrics import batch_dice_counts
from unet3d.training.state import TrainState


@dataclass(frozen=True)
class Measurements:
    """What a step tells: the global batch's mean loss and its Dice counts (3, outputs)."""

    loss: Any
    counts: Any


def make_train_step(
    state: TrainState, config: Config, targets: Targets, strategy: tf.distribute.Strategy
) -> Callable[[Any, Any], Measurements]:
    """The compiled step over all replicas: (images, labels) -> Measurements.

    images: float32 (batch, x, y, z, channels); labels: uint8 (batch, x, y, z); `batch` is a
    replica's share. Each replica sums its samples' losses over the global batch size, so the sum
    over replicas is the mean that one replica would see.
    """
    loss_of = make_loss(config.loss, targets.exclusive)
    table = tf.constant(targets.table)
    model, optimizer, scale = state.model, state.optimizer, state.loss_scale
    weights = model.trainable_variables
    replicas = strategy.num_replicas_in_sync

    def gradients(images: Any, labels: Any) -> tuple[list[Any], Any, Any]:
        truth = tf.gather(table, tf.cast(labels, tf.int32))
        with tf.GradientTape() as tape:
            logits = model(images, training=True)
            loss = tf.reduce_sum(loss_of(truth, logits)) / config.batch_size
            scaled = loss * scale.factor if scale else loss
        finest = logits[0] if isinstance(logits, (list, tuple)) else logits
        counts = tf.stack(batch_dice_counts(truth, finest, targets.exclusive))
        return tape.gradient(scaled, [w.value for w in weights]), loss, counts

    def accumulated(images: Any, labels: Any) -> tuple[list[Any], Any, Any]:
        parts = zip(
            tf.split(images, config.accumulate), tf.split(labels, config.accumulate), strict=True
        )
        total, loss, counts = gradients(*next(parts))
        for part in parts:
            with tf.control_dependencies([loss]):  # one part in memory at a time
                more, more_loss, more_counts = gradients(*[tf.identity(x) for x in part])
            total = [a + b for a, b in zip(total, more, strict=True)]
            loss, counts = loss + more_loss, counts + more_counts
        return total, loss, counts

    def update(grads: list[Any]) -> None:
        if scale or config.optimizer.clip_norm:
            # Clipping and the check for overflow need the whole gradient; Keras' optimizer adds
            # the replicas up once more, hence the division.
            context = tf.distribute.get_replica_context()
            grads = list(context.all_reduce(tf.distribute.ReduceOp.SUM, grads))
            if scale:
                grads = [g / scale.factor for g in grads]
        finite = tf.reduce_all([tf.reduce_all(tf.math.is_finite(g)) for g in grads])
        if config.optimizer.clip_norm:
            grads, _ = tf.clip_by_global_norm(grads, config.optimizer.clip_norm)
        if scale or config.optimizer.clip_norm:
            grads = [g / replicas for g in grads]
        if scale:
            tf.cond(finite, lambda: _apply(grads), lambda: tf.constant(0))
            scale.update(finite)
        else:
            _apply(grads)

    def _apply(grads: list[Any]) -> Any:
        optimizer.apply(grads, weights)
        state.update_average()
        return tf.constant(0)

    def replica_step(images: Any, labels: Any) -> tuple[Any, Any]:
        grads, loss, counts = accumulated(images, labels)
        update(grads)
        return loss, counts

    @tf.function
    def train_step(images: Any, labels: Any) -> tuple[Any, Any]:
        loss, counts = strategy.run(replica_step, args=(images, labels))
        total = tf.distribute.ReduceOp.SUM
        return strategy.reduce(total, loss, axis=None), strategy.reduce(total, counts, axis=None)

    return lambda images, labels: Measurements(*train_step(images, labels))
