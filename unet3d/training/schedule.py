"""The learning rate as a pure function of the step."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Any

import keras
from keras import ops

from unet3d.config.schema import Config, ScheduleConfig
from unet3d.errors import ConfigError

SHAPES = ("constant", "poly", "cosine")


@keras.saving.register_keras_serializable(package="unet3d")
class Schedule(keras.optimizers.schedules.LearningRateSchedule):
    """Linear warm-up to `lr`, then the named decay over the steps that remain.

    Step `s` of a warm-up of `w` steps has the rate lr * (s + 1) / w, so no step is lost at 0.
    With p in [0, 1] the share of the remaining steps that is done: constant is lr;
    poly is lr * (1 - p) ** power; cosine goes from lr to lr * final along half a cosine
    (Loshchilov and Hutter 2017).
    """

    def __init__(
        self,
        shape: str,
        lr: float,
        total_steps: int,
        warmup_steps: int = 0,
        power: float = 0.9,
        final: float = 0.0,
    ) -> None:
        super().__init__()
        self.shape = shape
        self.lr = lr
        self.total_steps = total_steps
        self.warmup_steps = warmup_steps
        self.power = power
        self.final = final

    def __call__(self, step: Any) -> Any:
        step = ops.cast(step, "float32")
        decayed = self.lr * self.factor(step)
        if not self.warmup_steps:
            return decayed
        warming = self.lr * (step + 1) / self.warmup_steps
        return ops.where(step < self.warmup_steps, warming, decayed)

    def factor(self, step: Any) -> Any:
        """The decay at `step`, as a factor of `lr`."""
        remaining = max(self.total_steps - self.warmup_steps, 1)
        progress = ops.clip((step - self.warmup_steps) / remaining, 0.0, 1.0)
        if self.shape == "poly":
            return ops.power(1 - progress, self.power)
        if self.shape == "cosine":
            return self.final + (1 - self.final) * 0.5 * (1 + ops.cos(math.pi * progress))
        return ops.ones_like(progress)

    def get_config(self) -> dict[str, Any]:
        return {
            "shape": self.shape,
            "lr": self.lr,
            "total_steps": self.total_steps,
            "warmup_steps": self.warmup_steps,
            "power": self.power,
            "final": self.final,
        }


def scaled(config: Config, replicas: int) -> tuple[ScheduleConfig, float]:
    """The schedule's settings and its peak rate, scaled as parallel.lr_scaling says.

    A rate that grows with the replicas wants a warm-up (Goyal et al. 2017): parallel.warmup_epochs
    where the schedule has none of its own.
    """
    factors = {"none": 1.0, "linear": float(replicas), "sqrt": math.sqrt(replicas)}
    factor = factors[config.parallel.lr_scaling]
    schedule = config.schedule
    if factor > 1 and not schedule.warmup_epochs:
        warmup = min(config.parallel.warmup_epochs, config.epochs / 2)
        schedule = replace(schedule, warmup_epochs=warmup)
    return schedule, config.lr * factor


def make_schedule(
    schedule: ScheduleConfig, lr: float, steps_per_epoch: int, epochs: int
) -> keras.optimizers.schedules.LearningRateSchedule:
    """The schedule that `schedule.name` chooses, over `steps_per_epoch * epochs` steps.

    Raises ConfigError for an unknown name or a warm-up that leaves no step for the schedule.
    """
    if schedule.name not in SHAPES:
        raise ConfigError(
            f"schedule.name: {schedule.name!r} is not known; choose one of {', '.join(SHAPES)}"
        )
    total = steps_per_epoch * epochs
    warmup = round(schedule.warmup_epochs * steps_per_epoch)
    if warmup < 0 or (warmup and warmup >= total):
        raise ConfigError(
            f"schedule.warmup_epochs: {schedule.warmup_epochs} must be at least 0 and below "
            f"epochs ({epochs})"
        )
    return Schedule(
        schedule.name,
        lr=float(lr),
        total_steps=total,
        warmup_steps=warmup,
        power=float(schedule.power),
        final=float(schedule.final),
    )
