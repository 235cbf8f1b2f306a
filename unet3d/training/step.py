"""The training step: batch in; loss, gradients, update and measurements out."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import tensorflow as tf

from unet3d.config.schema import Config
from unet3d.distributed.all_reduce import all_reduce, sum_over_replicas
from unet3d.losses import make_loss
from unet3d.metrics import batch_dice_counts
from unet3d.models.recompute import recomputed
from unet3d.sampling.targets import Targets
from unet3d.training.gradients import Gradients, accumulate, all_finite, clip, unscale
from unet3d.training.measurements import Measurements
from unet3d.training.state import TrainState, moving_statistics


def make_train_step(
    state: TrainState,
    config: Config,
    targets: Targets,
    strategy: tf.distribute.Strategy,
    *,
    xla: bool = False,
) -> Callable[..., Measurements]:
    """The compiled step over all replicas: (images, labels, stop=False) -> Measurements.

    images: float32 (batch, x, y, z, channels); labels: uint8 (batch, x, y, z); `batch` is a
    replica's share. stop: whether this worker was asked to stop. Each replica sums its samples'
    losses over the global batch size, so the sum over replicas is the mean that one would see.
    xla: compile it with XLA; of several replicas only what lies between their exchanges.
    """
    loss_of = make_loss(config.loss, targets.exclusive, targets.ignores, config.model.level_stride)
    targets_of_label = tf.constant(targets.table)
    model, optimizer, scale = state.model, state.optimizer, state.loss_scale
    weights = model.trainable_variables
    replicas = strategy.num_replicas_in_sync
    statistics = moving_statistics(model)
    call = recomputed(model) if config.model.recompute else partial(model, training=True)

    def forward_backward(images: Any, labels: Any) -> tuple[Gradients, Any, Any]:
        truth = tf.gather(targets_of_label, labels)
        with tf.GradientTape() as tape:
            logits = call(images)
            loss = tf.reduce_sum(loss_of(truth, logits)) / config.batch_size
            scaled_loss = loss * scale.factor.value if scale else loss
        grads = tape.gradient(scaled_loss, [weight.value for weight in weights])
        finest = logits[0] if isinstance(logits, (list, tuple)) else logits
        counts = batch_dice_counts(truth, finest, targets.exclusive, targets.ignores)
        return grads, loss, tf.stack(counts)

    if xla and replicas > 1:
        forward_backward = tf.function(forward_backward, autograph=False, jit_compile=True)

    def replica_gradients(images: Any, labels: Any, stop: Any) -> tuple[Gradients, Any, Any]:
        before = [tf.identity(value.value) for value in statistics] if scale else []
        labels = tf.cast(labels, tf.int32)  # before the split: a GPU has none for uint8
        grads, loss, counts = accumulate(forward_backward, images, labels, config.accumulate)
        measured = tf.concat(
            [tf.stack([tf.cast(loss, tf.float64), stop]), tf.reshape(counts, [-1])], 0
        )
        (measured,) = sum_over_replicas([measured], config.parallel)  # sent in the backward pass
        grads = unscale(all_reduce(grads, config.parallel), scale)
        finite = all_finite(grads)
        for value, old in zip(statistics, before, strict=False):  # of a pass that has overflowed
            value.assign(tf.where(finite, value.value, old))
        return clip(grads, config.optimizer.clip_norm), finite, measured

    def replica_update(grads: Gradients) -> None:
        optimizer.apply(grads, weights)
        state.update_average()

    @tf.function(autograph=False, jit_compile=(xla and replicas == 1) or None)
    def train_step(images: Any, labels: Any, stop: Any) -> Any:
        grads, finite, measured = strategy.run(replica_gradients, args=(images, labels, stop))
        if scale:  # an overflow skips the update; no condition is possible within a replica
            finite = strategy.experimental_local_results(finite)[0]  # the same on all
            tf.cond(finite, lambda: strategy.run(replica_update, args=(grads,)), lambda: None)
            scale.update(finite)
        else:
            strategy.run(replica_update, args=(grads,))
        return strategy.experimental_local_results(measured)[0]  # the same on all

    def measured_step(images: Any, labels: Any, stop: bool = False) -> Measurements:
        return Measurements(train_step(images, labels, tf.constant(float(stop), tf.float64)))

    return measured_step
