"""What successive halving and population based training share: trials in rounds."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterable
from typing import Any

from unet3d.sweep.trial import Trial, TrialResult


class RoundsSearch(ABC):
    """A round waits for all trials of the one before.

    So the same results lead to the same choice in whatever order they arrive, also when a sweep is
    resumed.
    """

    may_skip = True

    def __init__(self, first: Iterable[Any]):
        """first: what the trials of the first round are made from."""
        self.waiting, self.running = list(first), 0
        self.place: dict[int, int] = {}  # the configuration or member of each trial, by its number
        self.results: dict[int, TrialResult] = {}  # of this round's finished trials, by place

    @abstractmethod
    def begin(self, waiting: Any) -> tuple[int, Trial]:
        """The place and the trial of what has waited longest."""

    @abstractmethod
    def advance(self) -> None:
        """Call `begin_round` with what the next round is made from, if there is one."""

    def begin_round(self, waiting: Iterable[Any]) -> None:
        """Go on with another round."""
        self.waiting, self.results = list(waiting), {}

    def next(self) -> Trial | None:
        """The next trial of the round; None while that depends on those that run, or at the end."""
        if not self.waiting and not self.running:
            self.advance()
        if not self.waiting:
            return None
        place, trial = self.begin(self.waiting.pop(0))
        self.place[trial.number] = place
        self.running += 1
        return trial

    def should_prune(self, trial: Trial, epoch: int, value: float) -> bool:
        """Never: a round chooses among trials by their best epoch, at their end."""
        return False

    def tell(self, trial: Trial, result: TrialResult) -> None:
        """How a trial ended; one that the user stopped keeps its round open."""
        if result.state == "stopped":
            return
        self.running -= 1
        if result.state == "finished" and result.best is not None:
            self.results[self.place[trial.number]] = result
