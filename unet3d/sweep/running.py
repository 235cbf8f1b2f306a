"""What the scheduler works with: the sweep, and each trial that has started."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from unet3d.config.schema import Config
from unet3d.distributed.stop import StopRequest
from unet3d.sweep.live_table import LiveTable
from unet3d.sweep.search import Search
from unet3d.sweep.sweep_folder import SweepFolder
from unet3d.sweep.trial import Trial, TrialResult
from unet3d.sweep.worker_pool import WorkerPool


@dataclass
class RunningTrial:
    """A trial that has started. twins: trials of the same settings, which share its result.

    failures, nodes_lost: of its own and of others, since an epoch was finished in between.
    """

    trial: Trial
    attempt: int = 1
    failures: int = 0
    nodes_lost: int = 0
    failed_after: int = 0  # epochs that it had finished when it failed last
    seconds: float = 0.0  # of former attempts
    started: float = field(default_factory=time.monotonic)
    last_epoch: int = 0  # that was shown and judged
    epochs_read: int = 0  # bytes of its epochs that were read
    pruned: bool = False
    asked_to_stop: bool = False
    twins: list[Trial] = field(default_factory=list)
    epochs_before: int = 0  # that it had finished when this attempt began
    metrics: list[dict[str, float]] = field(default_factory=list)  # of this attempt's epochs
    run_id: str = ""  # of this attempt's first epoch on
    slots: int = 1
    wanted: int | None = None  # slots with which it shall go on after its epoch
    may_grow: bool = True
    stays: bool = False  # it was said why it does not grow
    cases: int = 0  # that are validated, once known

    def begin_again(self) -> None:
        """Forget what belonged to the attempt that has ended."""
        self.slots, self.wanted, self.metrics = 1, None, []


@dataclass
class Sweep:
    """All that the loop works with.

    prepare: (trial, id of the run to resume) -> the settings of its run. record_failure: (trial,
    id of its run if it has one, error) -> id of the run, which is closed as FAILED. record_stop:
    (trial, id of its run, reason): closes it as KILLED.
    """

    search: Search
    total: int  # trials
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
