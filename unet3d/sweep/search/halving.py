"""Successive halving of a grid over a setting of its runs, such as the share of training cases."""

from __future__ import annotations

import logging
from collections.abc import Callable

from unet3d.sweep.search.rounds import RoundsSearch
from unet3d.sweep.trial import Trial

log = logging.getLogger(__name__)


class HalvingSearch(RoundsSearch):
    """All configurations cheaply, the best of them again with more (Jamieson and Talwalkar 2016).

    make_trial: (index of the configuration, rung) -> its trial there. rungs: how many there are;
    reduction: of the trials of a rung, one in so many has one at the next, at least one. Each is
    trained from the beginning. A rung is a round.
    """

    def __init__(
        self, count: int, make_trial: Callable[[int, int], Trial], rungs: int, reduction: int
    ):
        super().__init__(range(count))
        self.make_trial = make_trial
        self.sizes = rung_sizes(count, rungs, reduction)
        self.rung = self.issued = 0

    @property
    def total(self) -> int:
        """Trials in all, fewer where so many have failed that a rung has too few."""
        return self.issued + len(self.waiting) + sum(self.sizes[self.rung + 1 :])

    def begin(self, waiting: int) -> tuple[int, Trial]:
        """The trial of a configuration at this rung."""
        self.issued += 1
        return waiting, self.make_trial(waiting, self.rung)

    def advance(self) -> None:
        """Go on with the best of the rung, if there is another rung."""
        if self.rung + 1 == len(self.sizes):
            return
        best = sorted(self.results, key=lambda at: (-(self.results[at].best or 0), at))
        self.rung += 1
        self.begin_round(best[: self.sizes[self.rung]])
        log.info(
            "halving: %d of %d go on at rung %d of %d",
            len(self.waiting),
            self.sizes[self.rung - 1],
            self.rung + 1,
            len(self.sizes),
        )


def rung_sizes(count: int, rungs: int, reduction: int) -> list[int]:
    """The trials of each rung, the cheapest first."""
    return [max(1, count // reduction**rung) for rung in range(rungs)]
