"""A trace has the steps that it should, and is written wherever it ends."""

from __future__ import annotations

from pathlib import Path

import pytest
import tensorflow as tf

from unet3d.training.trace import UNTRACED_STEPS, StepTrace


@pytest.fixture
def calls(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The profiler's starts and stops, which do nothing else."""
    made: list[str] = []
    profiler = tf.profiler.experimental
    monkeypatch.setattr(profiler, "start", lambda folder: made.append(f"start {folder}"))
    monkeypatch.setattr(profiler, "stop", lambda: made.append("stop"))
    return made


def test_the_first_steps_are_left_out(calls: list[str]) -> None:
    """They compile, and would hide what a step costs."""
    trace = StepTrace(Path("trace"), 2)
    for number in range(UNTRACED_STEPS + 4):
        with trace.step(number):
            calls.append("step")
    trace.close()
    expected = ["step"] * UNTRACED_STEPS + ["start trace", "step", "step", "stop", "step", "step"]
    assert calls == expected


def test_a_training_that_ends_early_writes_what_there_is(calls: list[str]) -> None:
    """Or TensorFlow would drop the trace, and could not start another."""
    trace = StepTrace(Path("trace"), 9)
    for number in range(UNTRACED_STEPS + 1):
        with trace.step(number):
            pass
    trace.close()
    trace.close()
    assert calls == ["start trace", "stop"]


def test_no_steps_are_no_trace(calls: list[str]) -> None:
    """As in every run without profile_steps."""
    trace = StepTrace(Path("trace"), 0)
    for number in range(UNTRACED_STEPS + 2):
        with trace.step(number):
            pass
    trace.close()
    assert calls == []
