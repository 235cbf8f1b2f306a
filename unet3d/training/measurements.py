"""What a step measures, which stays on the device until it is looked at."""

from __future__ import annotations

from functools import cached_property
from typing import Any

import numpy as np


class Measurements:
    """Figures of a step over the global batch, the same on every worker.

    The first look at one of them waits for the device to end the step.
    """

    def __init__(self, values: Any):
        """values: float64 (2 + 3 * outputs,), a tensor: loss, workers asked to stop, counts."""
        self.tensor = values

    @classmethod
    def of(cls, loss: float, stop: bool, counts: np.ndarray) -> Measurements:
        """From their values."""
        return cls(np.array([loss, stop, *np.ravel(counts)]))

    @cached_property
    def _host(self) -> np.ndarray:
        return np.asarray(self.tensor)

    @property
    def loss(self) -> float:
        """The mean."""
        return float(self._host[0])

    @property
    def stop(self) -> bool:
        """Whether any worker was asked to stop."""
        return bool(self._host[1])

    @property
    def counts(self) -> np.ndarray:
        """Of Dice, (3, outputs)."""
        return self._host[2:].reshape(3, -1)
