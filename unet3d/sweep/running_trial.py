"""A trial that has started, as the scheduler follows it."""

from __future__ import annotations

import time
from dataclasses import dataclass, field

from unet3d.sweep.trial import Trial


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
    device_seconds: float = 0.0  # likewise, of former commands too
    started: float = field(default_factory=time.monotonic)
    last_epoch: int = 0  # that was shown and judged
    epochs_read: int = 0  # bytes of its epochs that were read
    pruned: bool = False
    asked_to_stop: bool = False
    twins: list[Trial] = field(default_factory=list)
    epochs_before: int = 0  # that it had finished when this attempt began
    metrics: list[dict[str, float]] = field(default_factory=list)  # of this attempt's epochs
    free_since: int | None = None  # of these, before the first that began beside free slots
    run_id: str = ""  # of this attempt's first epoch on
    slots: int = 1
    wanted: int | None = None  # slots with which it shall go on after its epoch
    may_grow: bool = True
    stays: bool = False  # it was said why it does not grow
    cases: int = 0  # that are validated, once known

    def begin_again(self) -> None:
        """Forget what belonged to the attempt that has ended."""
        self.slots, self.wanted, self.metrics, self.free_since = 1, None, [], None
