"""Which running trials shall have more or fewer devices: a pure function of what was measured.

A sweep decides by it, and the simulator of sweeps. Nothing is fitted: an epoch's time on other
slots follows from the parts of the trial's own epochs, on assumptions that
docs/decisions/0023-sweeps-that-grow.md gives the reasons for.
"""

from __future__ import annotations

import heapq
import math
from bisect import bisect_right
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace

# Of the steps of several devices, until a group of the trial has been measured.
ASSUMED_EFFICIENCY = 0.8
ASSUMED_SECONDS = 0.02  # that a step takes longer over several processes, however short it is
MARGIN = 1.5  # restarts that a change must gain


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

    def slowed(self, factor: float) -> Pace:
        """Of a trial that takes `factor` times as long."""
        parts = ("steps", "all_reduce", "validation", "rest")
        return replace(self, **{part: factor * getattr(self, part) for part in parts})

    def _rounds(self, slots: int) -> int:
        return math.ceil(max(1, self.cases) / (slots * self.workers))


@dataclass(frozen=True)
class GrowingTrial:
    """A running trial. slots: that it has; sizes: that it may have, in order; restart: seconds of a
    change.

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

    def gains(self, free: int) -> bool:
        """Whether a change pays with all free slots, hence perhaps with some of them."""
        largest = self.sizes[bisect_right(self.sizes, self.slots + free) - 1]
        return self.pace is not None and largest > self.slots and self.pays(largest)

    def next_size(self, slots: int) -> int:
        """The next larger size, or the same where there is none."""
        larger = bisect_right(self.sizes, slots)
        return self.sizes[larger] if larger < len(self.sizes) else slots


def possible_sizes(at_once: int, devices: int, capacity: int) -> tuple[int, ...]:
    """The numbers of slots, at most `capacity`, on which the global batch stays as it is.

    at_once: patches of a step, over all replicas, at a time; devices: of a slot. One is always
    possible.
    """
    most = min(capacity, at_once // devices)
    return (1, *(n for n in range(2, most + 1) if at_once % (n * devices) == 0))


def size_after(sizes: Sequence[int], wanted: int, free: int) -> int:
    """With how many slots a trial goes on that was to have `wanted`, where `free` are left now."""
    return max((size for size in sizes if size <= min(wanted, free)), default=1)


def choose_sizes(free: int, waiting: int, trials: Iterable[GrowingTrial]) -> dict[int, int]:
    """The slots that trials shall have, by number, where these are not those that they have.

    free: slots without a trial, below 0 where some were lost; waiting: trials that need one.
    """
    candidates = [one for one in trials if one.epochs_left > 0]
    if waiting > free:
        return _give_back(waiting - max(0, free), candidates)
    if waiting or free <= 0:
        return {}
    candidates = [one for one in candidates if one.gains(free)]
    while candidates:
        shares = _share_out(free, candidates)
        grown = [one for one in candidates if shares.get(one.number, 0) > one.slots]
        unpaid = [one for one in grown if not one.pays(shares[one.number])]
        if not unpaid:
            return {one.number: shares[one.number] for one in grown}
        candidates.remove(min(unpaid, key=lambda one: one.left(one.slots)))
    return {}


def _share_out(free: int, trials: Sequence[GrowingTrial]) -> dict[int, int]:
    """Free slots go to the trial with the longest time left, one size after another.

    Returns the slots of those that have got any.
    """
    shares: dict[int, int] = {}
    longest_first = [(-one.left(one.slots), place) for place, one in enumerate(trials)]
    heapq.heapify(longest_first)
    while longest_first and free > 0:
        left, place = longest_first[0]
        longest = trials[place]
        now = shares.get(longest.number, longest.slots)
        size = longest.next_size(now)
        if now < size <= now + free and (shorter := longest.left(size)) < -left:
            shares[longest.number], free = size, free - (size - now)
            heapq.heapreplace(longest_first, (-shorter, place))
        else:
            heapq.heappop(longest_first)
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
