"""The peak that a training is recorded with."""

from __future__ import annotations

import numpy as np

from unet3d.training.peak_memory import PeakMemory, resident


def test_the_peak_is_that_of_this_training_alone() -> None:
    """What was taken and given back before does not count; what is taken meanwhile does."""
    size = 2 * 10**8
    before: np.ndarray = np.ones(size, np.uint8)
    del before
    memory = PeakMemory(predicted=3e8)
    memory.begin()
    quiet = memory.metrics()["perf/peak_memory_gb"]
    taken: np.ndarray = np.ones(size, np.uint8)
    del taken
    found = memory.metrics()
    assert found["perf/predicted_memory_gb"] == 0.3
    assert 0.15 < found["perf/peak_memory_gb"] - quiet < 0.4
    assert "perf/predicted_memory_gb" not in PeakMemory().metrics()
    assert 0 < resident("VmRSS") <= resident("VmHWM") and resident("nothing") == 0
