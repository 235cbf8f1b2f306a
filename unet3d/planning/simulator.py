"""What a sweep would take on a cluster: its trials placed and timed without running anything.

An event loop over ends of trials, ends of epochs at which trials may grow, and losses of nodes.
The same seed gives the same times.
"""

from __future__ import annotations

import heapq
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from itertools import count

import numpy as np

from unet3d.planning.free_devices import FreeDevices
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
LEAST_GAIN = 0.05  # of a trial's remaining time, below which it does not grow


@dataclass
class _Running:
    """A trial on its devices. done: epochs before this attempt; first: when its first one began."""

    trial: int
    devices: tuple[int, ...]
    placement: Placement
    started: float
    first: float
    epoch: float  # seconds
    done: int
    token: int  # of its event; an older one is void
    grows: bool = False  # at its next epoch's end, onto the devices that it has reserved
    reserved: tuple[int, ...] = ()


@dataclass
class Simulation:
    """One sweep on one cluster."""

    trials: Sequence[SimulatedTrial]
    cluster: Cluster
    timing: Timing
    policy: Policy
    seed: int = 0
    now: float = 0.0
    waiting: list[tuple[int, int]] = field(default_factory=list)  # (trial, epochs done)
    running: dict[int, _Running] = field(default_factory=dict)
    segments: list[Segment] = field(default_factory=list)
    used: set[int] = field(default_factory=set)  # devices whose process has trained already
    lost: int = 0

    def run(self) -> Outcome:
        """Simulate to the end of the last trial."""
        self.free = FreeDevices(self.cluster)
        random = np.random.default_rng([self.seed, len(self.trials)])
        self.factors = np.exp(random.normal(0, self.timing.spread, len(self.trials))).tolist()
        self.random, self.tokens = random, count()
        self.events: list[tuple[float, int, str, int, int]] = []
        order = list(range(len(self.trials)))
        if self.policy.longest_first:
            order.sort(key=lambda n: -self._length(n))
        self.waiting = [(number, 0) for number in order]
        self._schedule_losses()
        self._fill()
        while self.running or self.waiting:
            self.now, _, kind, subject, token = heapq.heappop(self.events)
            if kind == "loss":
                self._lose(subject)
            elif kind == "repair":
                self._repair(subject)
            elif subject in self.running and self.running[subject].token == token:
                self._end_or_grow(self.running[subject])
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
        if not self.policy.weak:
            return cost
        return cost.with_batch_of_replicas(min(self.policy.devices, self.cluster.devices))

    def _epochs(self, number: int) -> int:
        trial = self.trials[number]
        return trial.cost.epochs if trial.epochs is None else min(trial.epochs, trial.cost.epochs)

    def _length(self, number: int) -> float:
        alone = self.timing.epoch_seconds(self._cost(number), Placement())
        return self._epochs(number) * alone

    def _fill(self) -> None:
        """Start what waits where there is room; then let trials grow."""
        while self.waiting:
            number, done = self.waiting[0]
            devices = self.free.take(self._wanted(number))
            if devices is None:
                return
            self.waiting.pop(0)
            self._start(number, done, devices, restart=False)
        if self.policy.grow:
            self._grow()

    def _wanted(self, number: int) -> int:
        most = min(self.policy.devices, self.cluster.devices)
        return self._cost(number).largest_devices(most)

    def _start(self, number: int, done: int, devices: tuple[int, ...], restart: bool) -> None:
        place = self._place(devices)
        cost = self._cost(number)
        warm = self.policy.warm and (restart or set(devices) <= self.used)
        begin = self.timing.start_seconds(warm) * self.factors[number]
        epoch = self.timing.epoch_seconds(cost, place) * self.factors[number]
        self.used |= set(devices)
        run = _Running(
            number, devices, place, self.now, self.now + begin, epoch, done, next(self.tokens)
        )
        self.running[number] = run
        self._add(self._finish_time(run), "trial", number, run.token)

    def _finish_time(self, run: _Running) -> float:
        left = self._epochs(run.trial) - run.done
        return run.first + left * run.epoch + self.timing.end

    def _end_or_grow(self, run: _Running) -> None:
        del self.running[run.trial]
        self._record(run)
        if run.grows:
            done = run.done + round((self.now - run.first) / run.epoch)
            self._start(run.trial, done, (*run.devices, *run.reserved), restart=True)
        else:
            self.free.release(run.devices)

    def _record(self, run: _Running) -> None:
        begun = min(run.first, self.now)
        self.segments.append(Segment(run.trial, run.devices, run.started, begun, RESTART))
        if self.now > begun:
            self.segments.append(Segment(run.trial, run.devices, begun, self.now))

    def _grow(self) -> None:
        """Give free devices to the trials that would end last, where that is worth a restart."""
        for run in sorted(self.running.values(), key=self._finish_time, reverse=True):
            free = self.free.count
            if not free:
                return
            if run.grows or self.now < run.first:
                continue
            wanted = self._cost(run.trial).largest_devices(len(run.devices) + free)
            more = wanted - len(run.devices)
            if more <= 0 or not self._gains(run, wanted):
                continue
            passed = int((self.now - run.first) / run.epoch) + 1
            at = run.first + passed * run.epoch
            if run.done + passed >= self._epochs(run.trial):
                continue
            taken = self.free.take_beside(more, run.devices)
            run.grows, run.reserved, run.token = True, taken, next(self.tokens)
            self._add(at, "trial", run.trial, run.token)

    def _gains(self, run: _Running, devices: int) -> bool:
        size = self.cluster.devices_per_node
        nodes = max(run.placement.nodes, -(-devices // size))
        place = Placement(devices, nodes, run.placement.sharing)
        cost, factor = self._cost(run.trial), self.factors[run.trial]
        left = (self._finish_time(run) - self.now) / run.epoch  # epochs
        before = left * run.epoch
        restart = self.timing.start_seconds(self.policy.warm) * factor + run.epoch / 2
        after = restart + left * self.timing.epoch_seconds(cost, place) * factor
        return after < (1 - LEAST_GAIN) * before

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
            ended = max(0, int((self.now - run.first) / run.epoch))
            self.waiting.insert(0, (run.trial, run.done + ended))
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


def one_device(trials: Sequence[SimulatedTrial], timing: Timing, policy: Policy) -> Outcome:
    """The same trials, one after another on one device: what speed-ups are against."""
    alone = replace(policy, devices=1, grow=False)
    return simulate(trials, Cluster(1, 1), replace(timing, spread=0.0), alone)
