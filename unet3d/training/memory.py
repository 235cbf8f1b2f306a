"""A device without memory for the step: one line with what to lower."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager

import tensorflow as tf

from unet3d.config.schema import Config
from unet3d.errors import RunError


@contextmanager
def memory_errors(config: Config, device: str, replicas: int) -> Iterator[None]:
    """Turn TensorFlow's error into a RunError: the step would not fit the next time either."""
    try:
        yield
    except tf.errors.ResourceExhaustedError as error:
        at_once = max(1, config.batch_size // (replicas * config.accumulate))
        patch = "x".join(str(size) for size in config.data.patch or ()) or "whole volumes"
        raise RunError(
            f"out of memory on {device}, with {at_once} at once of patch {patch}; "
            f"{_advice(config, replicas, at_once)} a smaller data.patch, batch_size or "
            f"model.filters ({_short(error)})"
        ) from error


def _short(error: Exception) -> str:
    """What TensorFlow says, without the names of its nodes."""
    return " ".join(re.sub(r"\{\{.*?\}\}", "", str(error)).split())[:160]


def _advice(config: Config, replicas: int, at_once: int) -> str:
    if at_once == 1:
        return "try"
    more = next(n for n in range(2, at_once + 1) if at_once % n == 0)
    return (
        f"type accumulate={config.accumulate * more}, which computes the same of "
        f"{at_once // more} at once, or try"
    )
