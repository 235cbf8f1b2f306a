"""Which trials start again, and how often."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest

from unet3d.sweep.running_trial import RunningTrial
from unet3d.sweep.scheduler import MAX_NODES_LOST, _worth_another
from unet3d.sweep.trial_worker import AttemptOutcome

SWEEP: Any = SimpleNamespace(retries=2)  # of all that a sweep is, the one thing that is looked at
TRIAL: Any = None


def tried(running: RunningTrial, kind: str, epochs: int = 0) -> bool:
    """Whether there is another attempt after one of this kind, with so many epochs finished."""
    running.last_epoch = epochs
    return _worth_another(SWEEP, running, AttemptOutcome(kind, 0.0, "why"))


@pytest.mark.parametrize("kind", ["wrong", "finished", "stopped"])
def test_what_would_come_again_is_final(kind: str) -> None:
    """As out of memory would."""
    assert not tried(RunningTrial(TRIAL), kind)


def test_failures_are_counted_from_the_last_finished_epoch() -> None:
    """A long trial may fail more often than sweep.retries, one that does not get on may not."""
    running = RunningTrial(TRIAL)
    assert all(tried(running, "broken", epochs) for epochs in range(10))
    assert tried(running, "broken", 9) and not tried(running, "broken", 9)


def test_lost_nodes_are_no_failures_of_a_trial() -> None:
    """Nor do they go on for ever."""
    running = RunningTrial(TRIAL)
    assert all(tried(running, "lost") for _ in range(MAX_NODES_LOST))
    assert running.failures == 0 and tried(running, "broken")
    assert not tried(running, "lost")
    assert tried(running, "lost", epochs=1)
