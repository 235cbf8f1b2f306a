"""What a sweep would take on a cluster: its trials placed and timed without running anything.

An event loop over ends of trials, ends of epochs at which trials may grow or give devices back, and
losses of nodes.
The same seed gives the same times.
"""

from __future__ import annotations

import heapq
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from itertools import count

import numpy as np

from unet3d.planning.attempt import Attempt, pace_of
from unet3d.planning.free_devices import FreeDevices
from unet3d.planning.grow import choose_sizes, possible_sizes
from unet3d.planning.simulated import (
    RESTART,
    Cluster,
    Outcome,
    Policy,
    Segment,
    SimulatedTrial,
)
from unet3d.planning.timing import Placement, RunCost, Timing

ALONE = Policy()  # experiment parallelism: a device a trial


@dataclass
class Simulation:
    """One sweep on one cluster."""

    trials: Sequence[SimulatedTrial]
    cluster: Cluster
    timing: Timing
    policy: Policy
    seed: int = 0
    now: float = 0.0
    later: list[int] = field(default_factory=list)  # trials that the search has not asked for yet
    waiting: list[tuple[int, int]] = field(default_factory=list)  # (trial, epochs done)
    running: dict[int, Attempt] = field(default_factory=dict)
    segments: list[Segment] = field(default_factory=list)
    used: set[int] = field(default_factory=set)  # devices with a process that waits for a trial
    over: int = 0  # trials
    lost: int = 0

    def run(self) -> Outcome:
        """Simulate to the end of the last trial."""
        self.free = FreeDevices(self.cluster)
        self.each = min(self.policy.devices, self.cluster.devices)  # devices of a slot
        if self.policy.ready:
            self.used = set(range(self.cluster.devices))
        random = np.random.default_rng([self.seed, len(self.trials)])
        self.factors = np.exp(random.normal(0, self.timing.spread, len(self.trials))).tolist()
        self.random, self.tokens = random, count()
        self.events: list[tuple[float, int, str, int, int]] = []
        order = list(range(len(self.trials)))
        if self.policy.longest_first:
            order.sort(key=lambda n: -self._length(n))
        self.later = sorted(order, key=lambda n: self.trials[n].after)
        self._schedule_losses()
        self._fill()
        while self.running or self.waiting:
            self.now, _, kind, subject, token = heapq.heappop(self.events)
            if kind == "loss":
                self._lose(subject)
            elif kind == "repair":
                self._repair(subject)
            elif subject not in self.running or self.running[subject].token != token:
                continue
            elif kind == "end":
                self._end(self.running[subject])
            self._fill()
        makespan = max((s.end for s in self.segments), default=0.0)
        return Outcome(
            tuple(self.segments), makespan, self.cluster.devices, self.lost, self._extrapolated()
        )

    def _extrapolated(self) -> tuple[str, ...]:
        """What the constants were not measured on, of all that was simulated."""
        asked = {
            (self._cost(s.trial), len(s.devices), self.free.nodes_of(s.devices))
            for s in self.segments
        }
        found = {
            text
            for cost, devices, nodes in asked
            for text in self.timing.extrapolated(cost, Placement(devices, nodes))
        }
        return tuple(sorted(found))

    def _place(self, devices: Sequence[int]) -> Placement:
        """With nodes that are full, as they are for most of a sweep."""
        busy = min(self.cluster.devices_per_node, len(self.trials) * self.policy.devices)
        return Placement(len(devices), self.free.nodes_of(devices), busy)

    def _cost(self, number: int) -> RunCost:
        """A trial's cost, the same however far it grows: its global batch stays."""
        cost = self.trials[number].cost
        return cost.with_batch_of_replicas(self.each) if self.policy.weak else cost

    def _epochs(self, number: int) -> int:
        trial = self.trials[number]
        return trial.cost.epochs if trial.epochs is None else min(trial.epochs, trial.cost.epochs)

    def _length(self, number: int) -> float:
        alone = self.timing.epoch_seconds(self._cost(number), Placement())
        return self._epochs(number) * alone

    def _fill(self) -> None:
        """Start what waits where there is room; then see which trials shall grow or give back."""
        while self.later and self._asked_for(self.later[0]):
            self.waiting.append((self.later.pop(0), 0))
        if self.waiting:
            for run in self.running.values():
                if run.wanted is not None and run.wanted > run.slots:
                    self._withdraw(run)
        while self.waiting:
            number, done = self.waiting[0]
            devices = self.free.take(self._cost(number).largest_devices(self.each))
            if devices is None:
                break
            self.waiting.pop(0)
            self._start(number, done, devices, slots=1)
        if self.policy.grow:
            self._regroup()

    def _asked_for(self, number: int) -> bool:
        nothing_else = not self.running and not self.waiting
        return self.over >= self.trials[number].after or nothing_else

    def _start(self, number: int, done: int, devices: tuple[int, ...], slots: int) -> None:
        place, cost, factor = self._place(devices), self._cost(number), self.factors[number]
        warm = self.policy.warm and set(devices) <= self.used
        if slots > 1:  # a group of processes of its own, for which the others end
            self.used -= set(devices)
        else:
            self.used |= set(devices)
        run = Attempt(
            number,
            slots,
            devices,
            self.now,
            first=self.now + self.timing.start_seconds(warm and slots == 1) * factor,
            epoch=self.timing.epoch_seconds(cost, place) * factor,
            done=done,
            epochs=self._epochs(number),
            sizes=possible_sizes(
                cost.batch // cost.parts, len(devices) // slots, self.cluster.devices // self.each
            ),
            pace=pace_of(cost, place, self.timing, slots).slowed(factor),
            restart=self.timing.start_seconds() * factor,
            token=next(self.tokens),
        )
        self.running[number] = run
        self._add(run.last_end + self.timing.end, "end", number, run.token)
        if self.policy.grow:
            self._add(run.next_end(self.now), "look", number, run.token)

    def _end(self, run: Attempt) -> None:
        """The trial ends, or goes on with other devices."""
        del self.running[run.trial]
        self._record(run)
        done = run.done + run.ended(self.now)
        if run.wanted is None:
            self.over += 1
            self.free.release(run.devices)
            return
        self.used -= set(run.devices)
        have = (*run.devices, *run.reserved)
        if run.wanted == 1:  # as any trial does that has one slot
            self.free.release(have)
            self.waiting.insert(0, (run.trial, done))
            return
        kept = self.free.closest(have, run.wanted * run.devices_of_slot)
        self.free.release(set(have) - set(kept))
        self._start(run.trial, done, kept, run.wanted)

    def _record(self, run: Attempt) -> None:
        begun = min(run.first, self.now)
        self.segments.append(Segment(run.trial, run.devices, run.started, begun, RESTART))
        if self.now > begun:
            self.segments.append(Segment(run.trial, run.devices, begun, self.now))

    def _regroup(self) -> None:
        """Ask trials to go on with more devices, or with fewer: by the choice of real sweeps."""
        free, waiting = self.free.count // self.each, len(self.waiting)
        for run in self.running.values():
            if run.wanted is not None and run.wanted < run.slots and not waiting:
                self._withdraw(run)
        if waiting:
            free += sum(r.slots - r.wanted for r in self.running.values() if r.wanted is not None)
        staying = (run for run in self.running.values() if run.wanted is None)
        if waiting > free:
            staying = (run for run in staying if run.slots > 1)
        elif waiting or not free:
            return
        sizes = choose_sizes(free, waiting, [run.growing(self.now) for run in staying])
        for number, slots in sizes.items():
            self._ask(self.running[number], slots)

    def _ask(self, run: Attempt, slots: int) -> None:
        """Have the trial go on with `slots` after its epoch."""
        more = (slots - run.slots) * run.devices_of_slot
        at = run.next_end(self.now)
        if more > 0:
            run.reserved = self.free.take_beside(more, run.devices)
        run.wanted, run.token = slots, next(self.tokens)
        self._add(at, "end", run.trial, run.token)

    def _withdraw(self, run: Attempt) -> None:
        """Have it go on as it is."""
        self.free.release(run.reserved)
        run.wanted, run.reserved, run.token = None, (), next(self.tokens)
        self._add(run.last_end + self.timing.end, "end", run.trial, run.token)

    def _schedule_losses(self) -> None:
        if self.cluster.losses > 0:
            for node in range(self.cluster.nodes):
                self._add(self._until_loss(), "loss", node, 0)

    def _until_loss(self) -> float:
        return self.now + float(self.random.exponential(3600 / self.cluster.losses))

    def _lose(self, node: int) -> None:
        """End what trains on the node; it starts again from the last epoch that has ended."""
        gone = self.free.lose(node)
        self.used -= gone
        for run in [r for r in self.running.values() if gone & {*r.devices, *r.reserved}]:
            del self.running[run.trial]
            self._record(run)
            self.free.release((*run.devices, *run.reserved))
            self.waiting.insert(0, (run.trial, run.done + run.ended(self.now)))
            self.lost += 1
        self._add(self.now + self.cluster.repair, "repair", node, 0)

    def _repair(self, node: int) -> None:
        self.free.repair(node)
        self._add(self._until_loss(), "loss", node, 0)

    def _add(self, time: float, kind: str, subject: int, token: int) -> None:
        heapq.heappush(self.events, (time, next(self.tokens), kind, subject, token))


def simulate(
    trials: Sequence[SimulatedTrial],
    cluster: Cluster,
    timing: Timing,
    policy: Policy = ALONE,
    seed: int = 0,
) -> Outcome:
    """The outcome of a sweep of `trials` on `cluster`, each run as `timing` says."""
    return Simulation(trials, cluster, timing, policy, seed).run()


def one_device(
    trials: Sequence[SimulatedTrial], timing: Timing, policy: Policy, seed: int = 0
) -> Outcome:
    """The same trials, one after another on one device: what speed-ups are against.

    seed: that of the others, by which each trial is as much slower or faster as with them.
    """
    return simulate(trials, Cluster(1, 1), timing, replace(policy, devices=1, grow=False), seed)
