"""The pace of a trial, from the records of its epochs."""

from __future__ import annotations

import pytest

from unet3d.sweep.growth.pace import measured_pace, start_seconds


def test_the_start_of_an_attempt_is_not_its_pace() -> None:
    """The first record has the start and the first step, which are what a restart costs."""
    first = {"perf/start_s": 5.0, "perf/trace_s": 4.0, "perf/step_s": 9.0, "perf/step_ms": 100.0}
    later = {"perf/step_s": 2.0, "perf/input_wait_s": 1.0, "perf/validate_s": 0.5}
    later |= {"perf/checkpoint_s": 0.2, "perf/record_s": 0.1, "perf/step_ms": 300.0}
    assert start_seconds(first) == 9.0
    assert measured_pace([], slots=1, cases=4) is None
    pace = measured_pace([first, later, later], slots=1, cases=4)
    assert pace is not None
    assert (pace.steps, pace.validation, pace.updates) == pytest.approx((3.0, 0.5, 10.0))
    assert pace.rest == pytest.approx(0.3)
