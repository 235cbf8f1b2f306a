"""Successive halving of a grid over a setting of its runs, such as the share of training cases."""

from __future__ import annotations

import logging
from collections.abc import Callable

from unet3d.sweep.trial import Trial, TrialResult

log = logging.getLogger(__name__)


class HalvingSearch:
    """All configurations cheaply, the best of them again with more (Jamieson and Talwalkar 2016).

    make_trial: (index of the configuration, rung) -> its trial there. rungs: how many there are;
    reduction: of the trials of a rung, one in so many has one at the next, at least one. Each is
    trained from the beginning. A rung waits for all trials of the one before, so that the same
    results lead to the same choice in whatever order they arrive, also when a sweep is resumed.
    """

    may_skip = True

    def __init__(
        self, count: int, make_trial: Callable[[int, int], Trial], rungs: int, reduction: int
    ):
        self.make_trial, self.reduction = make_trial, reduction
        self.sizes = rung_sizes(count, rungs, reduction)
        self.rung, self.waiting, self.running = 0, list(range(count)), 0
        self.place: dict[int, int] = {}  # the configuration of each trial, by its number
        self.values: dict[int, float] = {}  # of this rung
        self.issued = 0

    @property
    def total(self) -> int:
        """Trials in all, fewer where so many have failed that a rung has too few."""
        return self.issued + len(self.waiting) + sum(self.sizes[self.rung + 1 :])

    def next(self) -> Trial | None:
        """The next trial of the rung; None while that depends on those that run, or at the end."""
        if not self.waiting and not self.running:
            self._climb()
        if not self.waiting:
            return None
        at = self.waiting.pop(0)
        trial = self.make_trial(at, self.rung)
        self.place[trial.number] = at
        self.running, self.issued = self.running + 1, self.issued + 1
        return trial

    def _climb(self) -> None:
        """Go on with the best of the rung, if there is another rung."""
        if self.rung + 1 == len(self.sizes):
            return
        best = sorted(self.values, key=lambda at: (-self.values[at], at))
        self.rung += 1
        self.waiting, self.values = best[: self.sizes[self.rung]], {}
        log.info(
            "halving: %d of %d go on at rung %d of %d",
            len(self.waiting),
            self.sizes[self.rung - 1],
            self.rung + 1,
            len(self.sizes),
        )

    def should_prune(self, trial: Trial, epoch: int, value: float) -> bool:
        """Never: a trial is judged by its best epoch, at its end."""
        return False

    def tell(self, trial: Trial, result: TrialResult) -> None:
        """How a trial ended; one that the user stopped keeps its rung open."""
        if result.state == "stopped":
            return
        self.running -= 1
        if result.state == "finished" and result.best is not None:
            self.values[self.place[trial.number]] = result.best


def rung_sizes(count: int, rungs: int, reduction: int) -> list[int]:
    """The trials of each rung, the cheapest first."""
    return [max(1, count // reduction**rung) for rung in range(rungs)]
