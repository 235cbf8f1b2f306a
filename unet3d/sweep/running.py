"""What the scheduler works with."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from unet3d.config.schema import Config
from unet3d.distributed.stop import StopRequest
from unet3d.sweep.budget import Budget
from unet3d.sweep.live_table import LiveTable
from unet3d.sweep.running_trial import RunningTrial
from unet3d.sweep.search.search import Search
from unet3d.sweep.sweep_folder import SweepFolder
from unet3d.sweep.trial import Trial, TrialResult
from unet3d.sweep.worker_pool import WorkerPool


@dataclass
class Sweep:
    """All that the loop works with.

    prepare: (trial, id of the run to resume) -> the settings of its run. record_failure: (trial,
    id of its run if it has one, error) -> id of the run, which is closed as FAILED. record_stop:
    (trial, id of its run, reason): closes it as KILLED.
    """

    search: Search
    folder: SweepFolder
    pool: WorkerPool
    table: LiveTable
    stop: StopRequest
    retries: int
    local: bool
    prepare: Callable[[Trial, str | None], Config]
    record_failure: Callable[[Trial, str | None, str], str]
    record_stop: Callable[[Trial, str, str], None]
    grow: str = "off"
    running: dict[Any, RunningTrial] = field(default_factory=dict)  # by reference of the outcome
    waiting: deque[RunningTrial] = field(default_factory=deque)  # for a worker, lost ones too
    results: dict[int, TrialResult] = field(default_factory=dict)  # by the trial's number
    queue_is_empty: bool = False  # the search has no trial any more
    budget: Budget | None = None
    ended: bool = False  # by its budget

    @property
    def stopping(self) -> bool:
        """Whether running trials save and stop, and none begins."""
        return self.ended or bool(self.stop.asked)
