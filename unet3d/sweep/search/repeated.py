"""An adaptive search over configurations, each trained on several folds and with several seeds."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field
from statistics import mean

from unet3d.config.schema import SweepConfig
from unet3d.sweep.search.search import EarlyStopping, OptunaSearch
from unet3d.sweep.trial import Trial, TrialResult


@dataclass
class _Asked:
    """A configuration that the study has asked for. left: of its trials, that are not over."""

    proposal: Trial
    left: set[int]
    results: list[TrialResult] = field(default_factory=list)
    given_up: bool = False


class RepeatedSearch:
    """Optuna proposes configurations; the value of one is the mean over its folds and seeds.

    repeats: a configuration's own trial -> its trials, one for each fold and seed. Early stopping
    compares trials of the same fold and seed; with one of them pruned the configuration is.
    """

    may_skip = False

    def __init__(
        self,
        proposals: OptunaSearch,
        repeats: Callable[[Trial], list[Trial]],
        each: int,
        settings: SweepConfig,
    ):
        self.proposals, self.repeats = proposals, repeats
        self.total = proposals.total * each
        self.waiting: deque[Trial] = deque()
        self.asked: dict[int, _Asked] = {}  # by the number of each of its trials
        self.early_stopping = EarlyStopping(settings)

    def next(self) -> Trial | None:
        """The next fold or seed of a configuration, of the next one after the last."""
        while not self.waiting:
            proposal = self.proposals.next()
            if proposal is None:
                return None
            trials = self.repeats(proposal)
            asked = _Asked(proposal, {trial.number for trial in trials})
            self.asked |= dict.fromkeys(asked.left, asked)
            self.waiting.extend(trials)
        trial = self.waiting.popleft()
        self.early_stopping.begin(trial)
        return trial

    def should_prune(self, trial: Trial, epoch: int, value: float) -> bool:
        """Whether the trial shall stop after val/dice `value` at `epoch`."""
        found = self.early_stopping.should_prune(trial, epoch, value)
        return found or self.asked[trial.number].given_up

    def tell(self, trial: Trial, result: TrialResult) -> None:
        """How a trial ended; the study learns the mean when all of its configuration have."""
        self.early_stopping.end(trial, result)
        asked = self.asked[trial.number]
        asked.results.append(result)
        asked.left.discard(trial.number)
        if result.state == "pruned" and not asked.given_up:
            asked.given_up = True
            skipped = {one.number for one in self.waiting if self.asked[one.number] is asked}
            self.waiting = deque(one for one in self.waiting if one.number not in skipped)
            asked.left -= skipped
        if not asked.left:
            self.proposals.tell(asked.proposal, _joined(asked.results))


def _joined(results: list[TrialResult]) -> TrialResult:
    """One result for a configuration: the mean, where all have finished."""
    for state in ("stopped", "failed", "pruned"):
        if any(result.state == state for result in results):
            return TrialResult(state)
    values = [result.best for result in results if result.best is not None]
    return TrialResult(
        "finished",
        best=mean(values) if values else None,
        device_seconds=mean(result.device_seconds for result in results),
        parameters=max(result.parameters for result in results),
    )
