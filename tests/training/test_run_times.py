"""The parts of a run's time: each counts for itself, and nothing twice."""

from __future__ import annotations

import time

import pytest

from unet3d.training import run_times
from unet3d.training.run_times import RunTimes, begin_times, process_seconds


class Clock:
    """Time that passes when it is told to."""

    def __init__(self) -> None:
        self.now = 50.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    clock = Clock()
    monkeypatch.setattr(run_times.time, "perf_counter", clock)
    return clock


def test_a_part_within_another_counts_once(clock: Clock) -> None:
    """Saving the best weights within a validation is time of the checkpoint alone."""
    times = RunTimes()
    with times.measure("validate"):
        clock.now += 1
        with times.measure("checkpoint"):
            clock.now += 10
        clock.now += 100
    assert times.metrics() == {"perf/validate_s": 101, "perf/checkpoint_s": 10}


def test_what_nothing_measures_is_in_no_part(clock: Clock) -> None:
    """The whole is a clock of its own, so that a part which was forgotten shows."""
    times = RunTimes(before=2)
    with times.measure("step"):
        clock.now += 3
    clock.now += 7
    assert times.last_metrics() == {"perf/start_s": 2, "perf/step_s": 3, "perf/wall_s": 12}


def test_records_add_up_to_the_whole(clock: Clock) -> None:
    """Each has what was spent since the one before; the last one also of a part not yet over."""
    times = RunTimes()
    with times.measure("step"):
        clock.now += 3
    first = times.metrics()
    with times.measure("checkpoint"):
        clock.now += 4
    with times.measure("record"):
        clock.now += 5
        last = times.last_metrics()
    assert first == {"perf/step_s": 3}
    assert last == {"perf/checkpoint_s": 4, "perf/record_s": 5, "perf/wall_s": 12}


def test_all_reduce_is_taken_from_the_steps(clock: Clock) -> None:
    """Never more than the steps of the epoch took."""
    times = RunTimes()
    for bare in (2.0, 100.0):
        with times.measure("step"):
            clock.now += 5
        times.count_all_reduce(bare)
        found = times.metrics()
        assert found.get("perf/step_s", 0.0) + found["perf/allreduce_s"] == 5
        assert found["perf/allreduce_s"] == min(bare, 5)


def test_only_the_first_training_of_a_process_counts_its_start(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """And none where the process has served others: a worker may have waited for hours."""
    monkeypatch.setattr(run_times, "_process_counted", False)
    assert begin_times(own_process=False).spent["start"] == 0
    assert begin_times(own_process=True).spent["start"] == 0  # something ran here before
    monkeypatch.setattr(run_times, "_process_counted", False)
    assert begin_times(own_process=True).spent["start"] > 0
    assert begin_times(own_process=True).spent["start"] == 0


def test_the_age_of_a_process_grows_with_the_clock() -> None:
    """It is that of this process: older than this test, younger than the machine."""
    age = process_seconds()
    assert 0 < age < time.clock_gettime(time.CLOCK_BOOTTIME)
