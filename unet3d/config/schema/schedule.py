"""Settings of the learning rate's schedule."""

from __future__ import annotations

from dataclasses import dataclass

from omegaconf import MISSING

from unet3d.config.allowed import AT_LEAST_0, POSITIVE, SHARE, one_of
from unet3d.config.setting import setting


@dataclass
class ScheduleConfig:
    """The learning rate over a run, as a factor of `lr`, after a linear warm-up."""

    name: str = setting(
        MISSING, "the shape, set by schedule=<choice>", one_of("constant", "poly", "cosine")
    )
    warmup_epochs: float = setting(0.0, "length of the warm-up; below epochs", AT_LEAST_0)
    power: float = setting(0.9, "poly: exponent", POSITIVE)
    final: float = setting(0.0, "cosine: factor reached at the end", SHARE)
