"""What a simulation is given and what it says: clusters, policies, trials, outcomes."""

from __future__ import annotations

from dataclasses import dataclass

from unet3d.planning.timing import RunCost

RESTART, TRAIN = "restart", "train"


@dataclass(frozen=True)
class Cluster:
    """Devices to train on. losses: of a node, an hour; repair: seconds until it is back."""

    nodes: int
    devices_per_node: int
    losses: float = 0.0
    repair: float = 600.0

    @property
    def devices(self) -> int:
        """Of all nodes."""
        return self.nodes * self.devices_per_node


@dataclass(frozen=True)
class Policy:
    """How trials share a cluster. devices: of each trial; 1 is experiment parallelism, all of the
    cluster's data parallelism, anything between is hybrid.

    grow: whether trials continue on more devices at an epoch's end, once none waits. longest_first:
    the order in which they start. warm: whether a process trains one trial after another; ready:
    whether these are there before the first trial. weak: the batch is that of a replica, as in the
    paper, and not that of all replicas.
    """

    devices: int = 1
    grow: bool = False
    longest_first: bool = False
    warm: bool = True
    ready: bool = False
    weak: bool = False

    def name(self, cluster: Cluster) -> str:
        """experiment, data or hybrid."""
        if self.devices == 1:
            return "experiment"
        return "data" if self.devices >= cluster.devices else f"hybrid {self.devices}"


@dataclass(frozen=True)
class SimulatedTrial:
    """A trial to be simulated. epochs: after which it is pruned; None: it finishes.

    after: how many trials must be over before the search asks for it.
    """

    name: str
    cost: RunCost
    epochs: int | None = None
    after: int = 0


@dataclass(frozen=True)
class Segment:
    """A trial on some devices, from start to end (s). kind: train, or restart before it."""

    trial: int
    devices: tuple[int, ...]
    start: float
    end: float
    kind: str = TRAIN


@dataclass(frozen=True)
class Outcome:
    """What was simulated. makespan: s; extrapolated: what the constants were not measured on."""

    segments: tuple[Segment, ...]
    makespan: float
    devices: int
    lost: int
    extrapolated: tuple[str, ...] = ()

    @property
    def device_seconds(self) -> float:
        """Of all devices, until the last trial ends: what is paid for."""
        return self.makespan * self.devices

    @property
    def busy(self) -> float:
        """The share of it that devices spend on trials."""
        used = sum((s.end - s.start) * len(s.devices) for s in self.segments)
        return used / self.device_seconds if self.device_seconds else 0.0
