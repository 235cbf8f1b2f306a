"""Which running trials shall have more or fewer devices: a pure function of what was measured.

Nothing is fitted. An epoch's time on other slots follows from the parts of the trial's own epochs,
on assumptions that docs/decisions/0023-sweeps-that-grow.md gives the reasons for.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from statistics import mean

# Of the steps of several devices, until a group of the trial has been measured.
ASSUMED_EFFICIENCY = 0.8
ASSUMED_SECONDS = 0.02  # that a step takes longer over several processes, however short it is
MARGIN = 1.5  # restarts that a change must gain
LAST_EPOCHS = 5  # that are looked at
DIVIDED = ("input_wait", "step")
UNDIVIDED = ("checkpoint", "record")
AT_START = ("start", "trace")


@dataclass(frozen=True)
class Pace:
    """Mean seconds of a trial's epochs on `slots`: steps, all-reduce, validation, the rest.

    updates: of an epoch; cases: that are validated; workers: of a slot, which share them.
    """

    slots: int
    steps: float
    all_reduce: float
    validation: float
    rest: float
    updates: float = 0.0
    cases: int = 1
    workers: int = 1

    def on(self, slots: int) -> float:
        """Seconds of an epoch on so many slots, estimated unless these are the measured ones."""
        steps = self.steps * self.slots / slots
        if slots == 1:
            all_reduce = 0.0
        elif self.slots > 1:
            all_reduce = self.all_reduce
        else:
            all_reduce = steps / ASSUMED_EFFICIENCY - steps + self.updates * ASSUMED_SECONDS
        validation = self.validation * self._rounds(slots) / self._rounds(self.slots)
        return steps + all_reduce + validation + self.rest

    def _rounds(self, slots: int) -> int:
        return math.ceil(max(1, self.cases) / (slots * self.workers))


@dataclass(frozen=True)
class GrowingTrial:
    """A running trial. slots: that it has; sizes: that it may have; restart: seconds of a change.

    epochs_left: after the one that it is in. pace: None before an epoch was measured.
    """

    number: int
    slots: int
    sizes: tuple[int, ...]
    epochs_left: int
    pace: Pace | None
    restart: float = 0.0

    def left(self, slots: int) -> float:
        """Seconds from its next epoch's end to its own on so many slots, without a restart."""
        return self.epochs_left * self.pace.on(slots) if self.pace else 0.0

    def pays(self, slots: int) -> bool:
        """Whether the change gains clearly more than it costs."""
        return self.left(self.slots) - self.left(slots) > MARGIN * self.restart


def measured_pace(
    records: Sequence[Mapping[str, float]], slots: int, cases: int, workers: int = 1
) -> Pace | None:
    """The pace by the metrics of an attempt's epochs, the first of which also has its start."""
    if not records:
        return None
    steady = (records[1:] or records)[-LAST_EPOCHS:]

    def seconds(*parts: str) -> float:
        return mean(sum(one.get(f"perf/{part}_s", 0.0) for part in parts) for one in steady)

    return Pace(
        slots,
        steps=seconds(*DIVIDED),
        all_reduce=seconds("allreduce") if slots > 1 else 0.0,
        validation=seconds("validate"),
        rest=seconds(*UNDIVIDED),
        updates=mean(map(_updates, steady)),
        cases=cases,
        workers=workers,
    )


def _updates(record: Mapping[str, float]) -> float:
    """Updates of the epoch, by what one took."""
    one = record.get("perf/step_ms", 0.0) / 1000
    return sum(record.get(f"perf/{part}_s", 0.0) for part in DIVIDED) / one if one else 0.0


def start_seconds(record: Mapping[str, float]) -> float:
    """What an attempt needed from its process' readiness to the end of its first step."""
    return sum(record.get(f"perf/{part}_s", 0.0) for part in AT_START)


def choose_sizes(free: int, waiting: int, trials: Sequence[GrowingTrial]) -> dict[int, int]:
    """The slots that trials shall have, by number, where these are not those that they have.

    free: slots without a trial, below 0 where some were lost; waiting: trials that need one.
    """
    candidates = [one for one in trials if one.epochs_left > 0]
    if waiting > free:
        return _give_back(waiting - max(0, free), candidates)
    if waiting:
        return {}
    candidates = [one for one in candidates if one.pace is not None]
    while candidates:
        shares = _share_out(free, candidates)
        grown = [one for one in candidates if shares[one.number] > one.slots]
        unpaid = [one for one in grown if not one.pays(shares[one.number])]
        if not unpaid:
            return {one.number: shares[one.number] for one in grown}
        candidates.remove(min(unpaid, key=lambda one: one.left(one.slots)))
    return {}


def _share_out(free: int, trials: Sequence[GrowingTrial]) -> dict[int, int]:
    """Free slots go to the trial with the longest time left, one size after another."""
    shares = {one.number: one.slots for one in trials}
    open_to_more = list(trials)
    while open_to_more:
        longest = max(open_to_more, key=lambda one: one.left(shares[one.number]))
        now = shares[longest.number]
        size = min((size for size in longest.sizes if size > now), default=now)
        if size > now and size - now <= free and longest.left(size) < longest.left(now):
            shares[longest.number], free = size, free - (size - now)
        else:
            open_to_more.remove(longest)
    return shares


def _give_back(needed: int, trials: Sequence[GrowingTrial]) -> dict[int, int]:
    """Slots of grown trials for `needed` others, of the largest first."""
    shares: dict[int, int] = {}
    for one in sorted(trials, key=lambda one: -one.slots):
        smaller = [size for size in one.sizes if size < one.slots]
        if needed <= 0 or not smaller:
            continue
        enough = [size for size in smaller if one.slots - size >= needed]
        shares[one.number] = max(enough, default=min(smaller))
        needed -= one.slots - shares[one.number]
    return shares
