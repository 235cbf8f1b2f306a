"""parallel=auto: experiment, data or hybrid parallelism, by what a simulation says of each."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from unet3d.planning.gantt import clock, table
from unet3d.planning.memory import GB
from unet3d.planning.simulated import Cluster, Policy, SimulatedTrial
from unet3d.planning.simulator import simulate
from unet3d.planning.timing import RunCost, Timing

CLEARLY = 0.02  # share of time by which more devices a trial must be faster than fewer


@dataclass(frozen=True)
class Considered:
    """A way to share the devices. seconds: simulated; None where it is not possible, see reason."""

    devices: int  # of each trial
    name: str
    seconds: float | None
    reason: str = ""


@dataclass(frozen=True)
class Choice:
    """The way that was chosen, and all that were considered, by devices of a trial."""

    best: Considered
    considered: tuple[Considered, ...]

    def lines(self) -> list[str]:
        """The table, for the log."""
        rows = [("devices a trial", "parallelism", "simulated", "")]
        for one in self.considered:
            time = "-" if one.seconds is None else clock(one.seconds)
            why = "chosen" if one is self.best else one.reason
            rows.append((str(one.devices), one.name, time, why))
        return [line.rstrip() for line in table(rows)]

    def summary(self) -> str:
        """In a line, for a tag."""
        parts = [
            f"{one.name}: {clock(one.seconds)}"
            for one in self.considered
            if one.seconds is not None
        ]
        return f"{self.best.name}, of {', '.join(parts)}"


def choose_parallel(
    trials: Sequence[SimulatedTrial], cluster: Cluster, timing: Timing, memory: float = 0.0
) -> Choice | None:
    """The fastest way to run `trials`; of equally fast ones that with fewest devices a trial.

    memory: bytes of a device; 0: not known, and taken as enough. None where no way fits in it.
    """
    steady = replace(timing, spread=0.0)
    considered = []
    for devices in candidates(cluster):
        policy = Policy(devices=devices)
        reason = _obstacle([trial.cost for trial in trials], devices, memory)
        if reason:
            considered.append(Considered(devices, policy.name(cluster), None, reason))
            continue
        seconds = simulate(trials, cluster, steady, policy).makespan
        considered.append(Considered(devices, policy.name(cluster), seconds))
    possible = [one for one in considered if one.seconds is not None]
    if not possible:
        return None
    best = possible[0]
    for one in possible[1:]:
        assert one.seconds is not None and best.seconds is not None
        if one.seconds < (1 - CLEARLY) * best.seconds:
            best = one
    return Choice(best, tuple(considered))


def candidates(cluster: Cluster) -> list[int]:
    """Devices of a trial: what divides a node evenly, and whole nodes that divide the cluster."""
    size, nodes = cluster.devices_per_node, cluster.nodes
    within = [n for n in range(1, size + 1) if size % n == 0]
    return within + [n * size for n in range(2, nodes + 1) if nodes % n == 0]


def _obstacle(costs: Sequence[RunCost], devices: int, memory: float) -> str:
    """Why a trial cannot train on so many devices, or ""."""
    for cost in costs:
        if cost.batch % devices:
            return f"batch_size={cost.batch} cannot be shared by {devices}"
        needed = cost.memory(devices)
        if memory and needed > memory:
            return f"takes {needed / GB:.3g} GB of a device's {memory / GB:.3g}"
    return ""


def what_fits(costs: Sequence[RunCost], memory: float) -> str:
    """The way out where a trial fits on no device, in words."""
    largest = max(costs, key=lambda cost: cost.memory(cost.batch))
    return (
        f"a step on one patch takes {largest.memory(largest.batch) / GB:.3g} GB, and a device has "
        f"{memory / GB:.3g}; type data.patch=auto, or a smaller data.patch or model.filters"
    )
