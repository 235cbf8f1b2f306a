"""The training step: batch in; loss, gradients, update and measurements out."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import tensorflow as tf

from unet3d.config import Config
from unet3d.data.targets import Targets
from unet3d.losses import make_loss
from unet3d.metrics import batch_dice_counts
from unet3d.parallel.strategy import communication_options
from unet3d.training.state import TrainState


@dataclass(frozen=True)
class Measurements:
    """What a step tells, the same on every worker.

    loss: mean over the global batch. stop: whether any worker was asked to stop. counts: of Dice,
    float64 (3, outputs), over the global batch.
    """

    loss: float
    stop: bool
    counts: np.ndarray


def make_train_step(
    state: TrainState, config: Config, targets: Targets, strategy: tf.distribute.Strategy
) -> Callable[..., Measurements]:
    """The compiled step over all replicas: (images, labels, stop=False) -> Measurements.

    images: float32 (batch, x, y, z, channels); labels: uint8 (batch, x, y, z); `batch` is a
    replica's share. stop: whether this worker was asked to stop. Each replica sums its samples'
    losses over the global batch size, so the sum over replicas is the mean that one would see.
    """
    loss_of = make_loss(config.loss, targets.exclusive)
    table = tf.constant(targets.table)
    model, optimizer, scale = state.model, state.optimizer, state.loss_scale
    weights = model.trainable_variables
    replicas = strategy.num_replicas_in_sync
    communication = communication_options(config.parallel)

    def gradients(images: Any, labels: Any) -> tuple[list[Any], Any, Any]:
        truth = tf.gather(table, tf.cast(labels, tf.int32))
        with tf.GradientTape() as tape:
            logits = model(images, training=True)
            loss = tf.reduce_sum(loss_of(truth, logits)) / config.batch_size
            scaled = loss * scale.factor.value if scale else loss
        finest = logits[0] if isinstance(logits, (list, tuple)) else logits
        counts = tf.stack(batch_dice_counts(truth, finest, targets.exclusive))
        return tape.gradient(scaled, [w.value for w in weights]), loss, counts

    def accumulated(images: Any, labels: Any) -> tuple[list[Any], Any, Any]:
        parts = zip(
            tf.split(images, config.accumulate), tf.split(labels, config.accumulate), strict=True
        )
        total, loss, counts = gradients(*next(parts))
        for part in parts:
            with tf.control_dependencies([loss, *total]):  # one part in memory at a time
                more, more_loss, more_counts = gradients(*[tf.identity(x) for x in part])
            total = [a + b for a, b in zip(total, more, strict=True)]
            loss, counts = loss + more_loss, counts + more_counts
        return total, loss, counts

    def added_up(grads: list[Any]) -> list[Any]:
        """The gradient of the global batch, sent in 16 bits where so configured."""
        if replicas == 1:
            return grads
        half = config.parallel.compression == "float16"
        sent = [tf.cast(g, tf.float16) for g in grads] if half else grads
        context = tf.distribute.get_replica_context()
        sums = context.all_reduce(tf.distribute.ReduceOp.SUM, sent, communication)
        return [tf.cast(total, g.dtype) for total, g in zip(sums, grads, strict=True)]

    def replica_gradient(images: Any, labels: Any, stop: Any) -> tuple[list[Any], Any, Any]:
        grads, loss, counts = accumulated(images, labels)
        grads = added_up(grads)
        if scale:
            grads = [g / scale.factor.value for g in grads]
        finite = tf.reduce_all([tf.reduce_all(tf.math.is_finite(g)) for g in grads])
        if config.optimizer.clip_norm:
            grads, _ = tf.clip_by_global_norm(grads, config.optimizer.clip_norm)
        head = tf.stack([tf.cast(loss, tf.float64), stop])
        return grads, finite, tf.concat([head, tf.reshape(counts, [-1])], 0)

    def replica_update(grads: list[Any]) -> None:
        optimizer.apply(grads, weights)
        state.update_average()

    @tf.function
    def train_step(images: Any, labels: Any, stop: Any) -> Any:
        grads, finite, measured = strategy.run(replica_gradient, args=(images, labels, stop))
        if scale:
            all_finite = strategy.experimental_local_results(finite)[0]  # the same everywhere

            def update() -> Any:
                strategy.run(replica_update, args=(grads,))
                return tf.constant(0)

            tf.cond(all_finite, update, lambda: tf.constant(0))
            scale.update(all_finite)
        else:
            strategy.run(replica_update, args=(grads,))
        return strategy.reduce(tf.distribute.ReduceOp.SUM, measured, axis=None)

    def measured_step(images: Any, labels: Any, stop: bool = False) -> Measurements:
        values = train_step(images, labels, tf.constant(float(stop), tf.float64)).numpy()
        return Measurements(float(values[0]), bool(values[1]), values[2:].reshape(3, -1))

    return measured_step


def make_statistics_mean(
    state: TrainState, strategy: tf.distribute.Strategy
) -> Callable[[], None] | None:
    """A call that gives all replicas the mean of their norms' moving statistics.

    None where there is nothing to do. Replicas that normalise by their own batch have statistics
    of their own; validation and checkpoints need one value.
    """
    moving = [v for v in state.model.non_trainable_variables if v.dtype == "float32"]
    if strategy.num_replicas_in_sync == 1 or not moving:
        return None

    def replica_mean() -> None:
        context = tf.distribute.get_replica_context()
        values = [tf.identity(v.value) for v in moving]
        means = context.all_reduce(tf.distribute.ReduceOp.MEAN, values)
        for variable, mean in zip(moving, means, strict=True):
            variable.assign(mean)

    @tf.function
    def statistics_mean() -> None:
        strategy.run(replica_mean)

    return statistics_mean
