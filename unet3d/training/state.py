"""What a training changes: weights, optimizer, their moving average and the loss scale."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import keras
import numpy as np
import tensorflow as tf


class LossScale:
    """Dynamic loss scaling for float16 (Micikevicius et al. 2018).

    Gradients are computed of loss * factor. An overflow halves the factor and skips the update;
    2000 updates without one double it.
    """

    def __init__(self, initial: float = 2.0**15, growth_steps: int = 2000):
        self.factor = keras.Variable(initial, trainable=False, dtype="float32")
        self.good_steps = keras.Variable(0, trainable=False, dtype="int64")
        self.growth_steps = growth_steps

    def update(self, finite: Any) -> None:
        """Take in whether the last gradient was finite."""
        old = self.factor.value
        good = tf.where(finite, self.good_steps.value + 1, 0)
        grow = good >= self.growth_steps
        factor = tf.where(finite, old, tf.maximum(old / 2, 1.0))
        self.factor.assign(tf.where(grow, factor * 2, factor))
        self.good_steps.assign(tf.where(grow, tf.zeros_like(good), good))


@dataclass
class TrainState:
    """All that a checkpoint must hold of the variables; `average` is None without EMA."""

    model: keras.Model
    optimizer: keras.optimizers.Optimizer
    loss_scale: LossScale | None = None
    average: list[keras.Variable] | None = None
    decay: float = 0.0

    def variables(self) -> dict[str, Any]:
        """Name -> variable, in an order and under names that only the settings decide."""
        named: dict[str, Any] = {}
        for group, variables in (
            ("model", self.model.variables),
            ("optimizer", self.optimizer.variables),
        ):
            for index, variable in enumerate(variables):
                named[f"{group}/{index:04d}"] = variable
        for index, variable in enumerate(self.average or []):
            named[f"average/{index:04d}"] = variable
        if self.loss_scale:
            named["loss_scale/factor"] = self.loss_scale.factor
            named["loss_scale/good_steps"] = self.loss_scale.good_steps
        return named

    def may_overflow(self) -> bool:
        """Whether a loss that is not finite is one for the loss scale, which can still be lowered.

        An overflow in float16 is skipped and lowers it; below 1 it is not the scale's.
        """
        return self.loss_scale is not None and float(np.asarray(self.loss_scale.factor)) > 1

    def update_average(self) -> None:
        """Move the average towards the weights; part of the training step."""
        if self.average:
            # The first steps average less, so that the initial weights fade at once.
            step = tf.cast(self.optimizer.iterations.value, tf.float32)
            decay = tf.minimum(self.decay, (1 + step) / (10 + step))
            for mean, weight in zip(self.average, self.model.trainable_variables, strict=True):
                mean.assign(decay * mean.value + (1 - decay) * tf.cast(weight.value, mean.dtype))

    @contextmanager
    def averaged(self) -> Iterator[None]:
        """Validate with the moving average: the weights are put back at the end."""
        if not self.average:
            yield
            return
        weights = self.model.trainable_variables
        kept = [np.array(weight) for weight in weights]
        for weight, mean in zip(weights, self.average, strict=True):
            weight.assign(mean)
        try:
            yield
        finally:
            for weight, value in zip(weights, kept, strict=True):
                weight.assign(value)


def make_state(
    model: keras.Model, optimizer: keras.optimizers.Optimizer, *, scaled: bool, ema: float | None
) -> TrainState:
    """The state of a training at its start; call it in the strategy's scope."""
    optimizer.build(model.trainable_variables)
    average = None
    if ema is not None:
        average = [
            keras.Variable(np.array(weight), trainable=False, dtype=weight.dtype)
            for weight in model.trainable_variables
        ]
    return TrainState(model, optimizer, LossScale() if scaled else None, average, ema or 0.0)


def moving_statistics(model: keras.Model) -> list[keras.Variable]:
    """What training changes beside the weights: the statistics of norms that are not frozen."""
    return [
        variable
        for layer in model.layers
        if layer.trainable
        for variable in layer.non_trainable_variables
        if "float" in variable.dtype
    ]


def make_statistics_mean(
    state: TrainState, strategy: tf.distribute.Strategy
) -> Callable[[], None] | None:
    """A call that gives all replicas the mean of their norms' moving statistics.

    None where there is nothing to do. Replicas that normalise by their own batch have statistics
    of their own; validation and checkpoints need one value.
    """
    moving = [v for v in moving_statistics(state.model) if v.dtype == "float32"]
    if strategy.num_replicas_in_sync == 1 or not moving:
        return None

    def replica_mean() -> None:
        replica = tf.distribute.get_replica_context()
        values = [tf.identity(v.value) for v in moving]
        means = replica.all_reduce(tf.distribute.ReduceOp.MEAN, values)
        for variable, mean in zip(moving, means, strict=True):
            variable.assign(mean)

    @tf.function(autograph=False)
    def statistics_mean() -> None:
        strategy.run(replica_mean)

    return statistics_mean
