"""The optimizer of a run. Clipping and averaging of weights belong to the training loop."""

from __future__ import annotations

from typing import Any

import keras

from unet3d.config.schema import OptimizerConfig, OwnOptimizerConfig
from unet3d.config.target import OWN, call_target
from unet3d.errors import ConfigError, RunError

# Weight decay pulls kernels to zero; for a norm's scale or a bias that only loses capacity.
UNDECAYED = ["bias", "gamma", "beta"]
KERAS_ALL_REDUCE = "_all_reduce_sum_gradients"


def make_optimizer(
    optimizer: OptimizerConfig, schedule: keras.optimizers.schedules.LearningRateSchedule
) -> keras.optimizers.Optimizer:
    """The Keras optimizer that `optimizer.name` chooses, with `schedule` as its learning rate.

    It expects gradients that are summed over the replicas: `clip_norm`, `ema` and that sum are the
    training step's. Raises ConfigError for an unknown name, and RunError for a Keras whose own sum
    cannot be switched off.
    """
    return without_all_reduce(_named(optimizer, schedule))


def without_all_reduce(optimizer: keras.optimizers.Optimizer) -> keras.optimizers.Optimizer:
    """`optimizer` without Keras' own sum of the gradients over the replicas.

    Keras would send all gradients over the network a second time, and add them up again. The
    method is private; RunError where this version of Keras does not have it.
    """
    if not callable(getattr(optimizer, KERAS_ALL_REDUCE, None)):
        raise RunError(
            f"Keras {keras.__version__}: its optimizers have no method {KERAS_ALL_REDUCE}, which "
            "must be replaced lest gradients be summed twice over replicas; install the Keras of "
            "requirements.lock"
        )
    setattr(optimizer, KERAS_ALL_REDUCE, lambda grads_and_variables: grads_and_variables)
    return optimizer


def _named(
    optimizer: OptimizerConfig, schedule: keras.optimizers.schedules.LearningRateSchedule
) -> keras.optimizers.Optimizer:
    settings: Any = optimizer
    if settings.name in ("adam", "adamw"):
        adam = {
            "learning_rate": schedule,
            "beta_1": settings.beta_1,
            "beta_2": settings.beta_2,
            "epsilon": settings.epsilon,
            "amsgrad": settings.amsgrad,
        }
        if settings.name == "adam":
            return keras.optimizers.Adam(**adam)
        return undecayed(keras.optimizers.AdamW(**adam, weight_decay=settings.weight_decay))
    if settings.name == "sgd":
        return undecayed(
            keras.optimizers.SGD(
                learning_rate=schedule,
                momentum=settings.momentum,
                nesterov=settings.nesterov,
                weight_decay=settings.weight_decay,
            )
        )
    if settings.name == OWN:
        return undecayed(_own(settings, schedule))
    raise ConfigError(
        f"optimizer.name: {settings.name!r} is not known; choose one of adam, adamw, own, sgd"
    )


def _own(
    optimizer: OwnOptimizerConfig, schedule: keras.optimizers.schedules.LearningRateSchedule
) -> keras.optimizers.Optimizer:
    """What `optimizer._target_` returns. Raises ConfigError unless it is an optimizer of Keras'."""
    key, target = "optimizer._target_", optimizer._target_
    found = call_target(key, target, optimizer.params, learning_rate=schedule)
    if not isinstance(found, keras.optimizers.Optimizer):
        raise ConfigError(
            f"{key}: {target} returned {type(found).__name__}; a keras.optimizers.Optimizer is "
            "expected"
        )
    return found


def undecayed(optimizer: keras.optimizers.Optimizer) -> keras.optimizers.Optimizer:
    """`optimizer` without weight decay of norms and biases."""
    if optimizer.weight_decay:
        optimizer.exclude_from_weight_decay(var_names=UNDECAYED)
    return optimizer
