"""Metrics as a user would write them, for validation.metrics."""

from __future__ import annotations

from typing import Any

import numpy as np

from unet3d import metrics


def overlap(truth: np.ndarray, prediction: np.ndarray, *, spacing: Any) -> np.ndarray:
    """Dice of each output, which the validation counts itself."""
    return metrics.dice(truth, prediction)


def volume(truth: np.ndarray, prediction: np.ndarray, *, spacing: Any, scale: float = 1) -> float:
    """ml of all outputs; not defined where nothing is true."""
    return scale * float(prediction.sum() * np.prod(spacing) / 1000) if truth.any() else np.nan


def text(truth: np.ndarray, prediction: np.ndarray, *, spacing: Any) -> str:
    return "fine"


def pairs(truth: np.ndarray, prediction: np.ndarray, *, spacing: Any) -> list[float]:
    return [0.5, 0.5]


def fails(truth: np.ndarray, prediction: np.ndarray, *, spacing: Any) -> float:
    """On any volume but that on which it is tried."""
    if len(truth) > 8:
        raise RuntimeError("out of ideas\nand more")
    return 1.0
