"""A grid as a race: configurations that will not be the best are dropped, close ones go on."""

from __future__ import annotations

import json
import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from unet3d.files import read_text, write_text
from unet3d.sweep.scores import score_table
from unet3d.sweep.statistics.comparison import LEVEL
from unet3d.sweep.statistics.race import RACE_LEVEL, behind, look_after
from unet3d.sweep.sweep_folder import TrialRecord
from unet3d.sweep.trial import Trial, TrialResult

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Dropped:
    """A configuration that has left the race. blocks: folds and seeds that it had run by then."""

    configuration: str
    blocks: int
    beaten_by: str
    difference: float
    p: float

    def __str__(self) -> str:
        return (
            f"{self.configuration} is dropped after {self.blocks} trials: {self.difference:+.4f} "
            f"beside {self.beaten_by}, p {self.p:.2g}"
        )


class RaceSearch:
    """Trials in rounds of one seed, all folds of it in turn, of the configurations in the race.

    make_trial: (index of the configuration, fold, round) -> its trial. planned: rounds that each
    survivor runs in any case; up to `most` are run for what the dropped ones have saved. kept: the
    file that says how the race has gone. A look waits for all trials that it compares, other
    trials do not wait for it. Since a look takes in these alone, the same results lead to the same
    race whatever the order of their arrival, also in a command that resumes it.
    """

    may_skip = False

    def __init__(
        self,
        names: Sequence[str],
        make_trial: Callable[[int, int, int], Trial],
        folds: int,
        planned: int,
        most: int,
        kept: Path,
    ):
        self.names, self.make_trial, self.kept = list(names), make_trial, kept
        self.folds, self.planned, self.most = folds, planned, most
        self.looks = look_after(folds, most)
        self.alive = list(range(len(names)))
        self.dropped: list[Dropped] = []
        self.records: dict[tuple[int, int], TrialRecord] = {}  # by block and configuration
        self.place: dict[int, tuple[int, int]] = {}  # of each trial, by its number
        self.rounds, self.looked, self.issued, self.cursor = planned, 0, 0, (0, 0)

    @property
    def total(self) -> int:
        """Trials in all, as far as is known."""
        blocks, (block, at) = self.rounds * self.folds, self.cursor
        if block >= blocks:
            return self.issued
        rest_of_block = sum(one >= at for one in self.alive)
        return self.issued + rest_of_block + (blocks - block - 1) * len(self.alive)

    def next(self) -> Trial | None:
        """The next trial; None while all that is left depends on those that run, or is over."""
        while self.cursor[0] < self.rounds * self.folds or self._extend():
            block, at = self.cursor
            if at == len(self.names):
                self.cursor = (block + 1, 0)
                continue
            self.cursor = (block, at + 1)
            if at in self.alive:
                seed, fold = divmod(block, self.folds)
                trial = self.make_trial(at, fold, seed)
                self.place[trial.number] = (block, at)
                self.issued += 1
                return trial
        return None

    def _extend(self) -> bool:
        """Begin another round where the race is not decided and its trials have been saved."""
        blocks = self.rounds * self.folds
        open_ = any((b, at) not in self.records for b in range(blocks) for at in self.alive)
        saved = self.planned * self.folds * len(self.names) - self.issued
        more = len(self.alive) * self.folds
        if open_ or len(self.alive) < 2 or self.rounds >= self.most or saved < more:
            return False
        self.rounds += 1
        log.info(
            "race: %d configurations are close and go on with another seed, %d trials of the %d "
            "that were saved",
            len(self.alive),
            more,
            saved,
        )
        return True

    def should_prune(self, trial: Trial, epoch: int, value: float) -> bool:
        """Whether the trial's configuration has been dropped meanwhile."""
        return self.place[trial.number][1] not in self.alive

    def tell(self, trial: Trial, result: TrialResult) -> None:
        """How the trial ended; looks at the race where that was the last one it waited for."""
        if result.state == "stopped":
            return
        record = TrialRecord(trial.number, trial.name, trial.swept, "", result, [])
        self.records[self.place[trial.number]] = record
        output_dir = trial.config.output_dir
        while self.looked < len(self.looks) and self._complete(self.looks[self.looked]):
            self._look(self.looks[self.looked], output_dir)
            self.looked += 1

    def _complete(self, blocks: int) -> bool:
        return all((b, at) in self.records for b in range(blocks) for at in self.alive)

    def _look(self, blocks: int, output_dir: str) -> None:
        if len(self.alive) < 2:
            return
        records = {
            self.records[block, at].number: at for block in range(blocks) for at in self.alive
        }
        table = score_table(
            [self.records[b, at] for b in range(blocks) for at in self.alive], output_dir
        )
        if len(table.configurations) < 2:
            return
        of = [records[one.trials[0].number] for one in table.configurations]
        found = behind(table.folds, len(self.names), len(self.looks))
        for row, (winner, difference, p) in sorted(found.items()):
            one = Dropped(self.names[of[row]], blocks, self.names[of[winner]], difference, p)
            self.alive.remove(of[row])
            self.dropped.append(one)
            log.info("race: %s", one)
        self._keep()

    def _keep(self) -> None:
        stored: dict[str, Any] = {
            "entrants": len(self.names),
            "looks": len(self.looks),
            "dropped": [vars(one) for one in self.dropped],
        }
        write_text(self.kept, json.dumps(stored, indent=1))


@dataclass(frozen=True)
class Race:
    """How a race has gone. entrants: configurations that began it; looks: that it may take."""

    entrants: int
    looks: int
    dropped: tuple[Dropped, ...]

    def adjusted(self, one: Dropped) -> float:
        """Its p beside the level of all tests of the sweep, as Holm's are."""
        share = RACE_LEVEL / LEVEL / (max(1, self.entrants - 1) * max(1, self.looks))
        return min(1.0, one.p / share)


def read_race(path: Path) -> Race | None:
    """How a sweep's race has gone so far; None of a sweep that is none."""
    text = read_text(path)
    if text is None:
        return None
    kept = json.loads(text)
    return Race(kept["entrants"], kept["looks"], tuple(Dropped(**one) for one in kept["dropped"]))
