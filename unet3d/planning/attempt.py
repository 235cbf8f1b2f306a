"""A simulated trial on its devices, from a start to its end or until it goes on with others."""

from __future__ import annotations

from dataclasses import dataclass

from unet3d.planning.grow import GrowingTrial, Pace
from unet3d.planning.timing import Placement, RunCost, Timing

EPSILON = 1e-6  # of an epoch, by which the end of one is rounded away from


@dataclass
class Attempt:
    """Times are those of the simulation, in seconds.

    started: when its devices were given to it; first: when its first epoch began. done: epochs
    before it, of `epochs` in all. sizes, pace, restart: as GrowingTrial has them. wanted: slots
    with which it shall go on after its epoch; reserved: devices that are kept for it until then.
    """

    trial: int
    slots: int
    devices: tuple[int, ...]
    started: float
    first: float
    epoch: float  # seconds
    done: int
    epochs: int
    sizes: tuple[int, ...]
    pace: Pace
    restart: float
    token: int  # of its event; an older one is void
    wanted: int | None = None
    reserved: tuple[int, ...] = ()

    @property
    def devices_of_slot(self) -> int:
        """The same on all of its slots."""
        return len(self.devices) // self.slots

    def ended(self, now: float) -> int:
        """Its own epochs that have ended."""
        ended = int((now - self.first) / self.epoch + EPSILON)
        return min(max(0, ended), self.epochs - self.done)

    def next_end(self, now: float) -> float:
        """When the epoch ends that it is in, or that it will begin with."""
        return self.first + (self.ended(now) + 1) * self.epoch

    @property
    def last_end(self) -> float:
        """When its last epoch ends."""
        return self.first + (self.epochs - self.done) * self.epoch

    def growing(self, now: float) -> GrowingTrial:
        """What a sweep knows of it: its pace once one of its own epochs has ended."""
        ended = self.ended(now)
        left = self.epochs - self.done - ended - 1
        pace = self.pace if ended else None
        return GrowingTrial(self.trial, self.slots, self.sizes, left, pace, self.restart)


def pace_of(cost: RunCost, placement: Placement, timing: Timing, slots: int) -> Pace:
    """What a sweep would measure of a trial's epochs there, each part as runs record it."""
    step = timing.step_seconds(cost, placement)
    exchange = min(step, timing.reduce_seconds(cost, placement))
    return Pace(
        slots,
        steps=cost.steps * (step - exchange),
        all_reduce=cost.steps * exchange,
        validation=timing.validation_seconds(cost, placement) / cost.val_every,
        rest=timing.epoch_end,
        updates=cost.steps,
        cases=cost.validation_cases,
        workers=placement.devices // slots,
    )
