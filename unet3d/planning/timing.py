"""How long a training takes, from what it computes and where: a model with few constants.

A step takes the longest of computing, reading its patches, and what of the exchange of gradients
does not overlap with computing. The exchange is that of a ring: 2 (n - 1) / n of the gradients'
bytes pass every link, in 2 (n - 1) messages (Patarasuk and Yuan 2009).
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields, replace
from pathlib import Path

from unet3d.errors import ConfigError
from unet3d.files import write_text

FEW = 3  # runs from which an error of the fit says something
MACHINES = Path(__file__).parent / "machines"


@dataclass(frozen=True)
class Placement:
    """Where a run trains: `devices` replicas, over `nodes` nodes.

    sharing: devices of a node that read at the same time, those of other runs among them.
    """

    devices: int = 1
    nodes: int = 1
    sharing: int = 1


@dataclass(frozen=True)
class RunCost:
    """What a run asks for.

    steps: of an epoch; batch: patches of a step, over all replicas. flops, bytes: of a patch,
    forward and backward. patch_bytes: as it travels from the store to a device. validation_flops:
    of a case's windows; val_every: epochs. state_bytes, patch_memory: what a device holds of
    weights and optimizer, and of each patch that it trains on at once; parts: of a batch, one after
    another (accumulate).
    """

    epochs: int
    steps: int
    batch: int
    flops: float
    bytes: float = 0.0
    patch_bytes: float = 0.0
    gradient_bytes: float = 0.0
    validation_cases: int = 0
    validation_flops: float = 0.0
    val_every: int = 1
    state_bytes: float = 0.0
    patch_memory: float = 0.0
    parts: int = 1

    def memory(self, devices: int) -> float:
        """Bytes that a step takes on each of `devices`."""
        at_once = max(1, self.batch // (devices * self.parts))
        return self.state_bytes + at_once * self.patch_memory

    def with_batch_of_replicas(self, devices: int) -> RunCost:
        """The batch for each of `devices` replicas, hence fewer steps for the same epochs."""
        return replace(self, batch=self.batch * devices, steps=max(1, -(-self.steps // devices)))

    def largest_devices(self, most: int) -> int:
        """The largest number of replicas, at most `most`, that the batch divides evenly by."""
        return next(n for n in range(min(most, self.batch), 0, -1) if self.batch % n == 0)


@dataclass(frozen=True)
class Timing:
    """The constants of a machine, in seconds, bytes and operations a second of one device.

    start: of a process, until its first step; compile: of the step's first call; warm_start: of
    another run in the same process. step: of a step, whatever its size. flops, bytes: that a
    device computes and moves a second in training, validation_flops: in validation. input: bytes
    of patches that a node prepares a second; 0: more than the devices take. latency, bandwidth:
    of the exchange within a node, of two nodes as far_latency, far_bandwidth; 0: not known, and
    taken as no time. overlap: share of computing during which gradients travel. epoch_end:
    checkpoint and record; end: of a run. spread: standard deviation of a run's time, as a share.
    known: what the fit has seen, least and most, by name; error: its relative error on that.
    """

    name: str
    start: float
    compile: float
    warm_start: float
    step: float
    flops: float
    bytes: float = 0.0
    validation_case: float = 0.0
    validation_flops: float = 0.0
    input: float = 0.0
    latency: float = 0.0
    bandwidth: float = 0.0
    far_latency: float = 0.0
    far_bandwidth: float = 0.0
    overlap: float = 0.0
    epoch_end: float = 0.0
    end: float = 0.0
    spread: float = 0.0
    error: float = 0.0
    known: Mapping[str, tuple[float, float]] = field(default_factory=dict)
    runs: tuple[str, ...] = ()
    source: str = ""

    def start_seconds(self, warm: bool = False) -> float:
        """From the command, or from the end of the last run in a warm process, to the steps."""
        return (self.warm_start if warm else self.start) + self.compile

    def compute_seconds(self, cost: RunCost, placement: Placement) -> float:
        """Of a step, on the patches of one replica."""
        patches = cost.batch / placement.devices
        work = cost.flops / self.flops if self.flops else 0.0
        moved = cost.bytes / self.bytes if self.bytes else 0.0
        return self.step + patches * max(work, moved)

    def reduce_seconds(self, cost: RunCost, placement: Placement) -> float:
        """Of one exchange of all gradients."""
        n = placement.devices
        if n == 1:
            return 0.0
        far = placement.nodes > 1
        latency = self.far_latency if far else self.latency
        bandwidth = self.far_bandwidth if far else self.bandwidth
        passed = 2 * (n - 1) / n * cost.gradient_bytes
        return 2 * (n - 1) * latency + (passed / bandwidth if bandwidth else 0.0)

    def step_seconds(self, cost: RunCost, placement: Placement) -> float:
        """Of a step: the longer of computing, with what is left of the exchange, and of input."""
        computing = self.compute_seconds(cost, placement)
        left = max(0.0, self.reduce_seconds(cost, placement) - self.overlap * computing)
        return max(computing + left, self.input_seconds(cost, placement))

    def input_seconds(self, cost: RunCost, placement: Placement) -> float:
        """That a node takes to prepare a step's patches for all devices that share it."""
        if not self.input:
            return 0.0
        own = -(-placement.devices // placement.nodes)  # devices on a node
        patches = cost.batch / placement.devices * max(own, placement.sharing)
        return patches * cost.patch_bytes / self.input

    def validation_seconds(self, cost: RunCost, placement: Placement) -> float:
        """Of one validation; its cases are spread over the replicas."""
        rounds = -(-cost.validation_cases // placement.devices)
        flops = self.validation_flops or 3 * self.flops
        work = cost.validation_flops / flops if flops else 0.0
        return rounds * (self.validation_case + work)

    def epoch_seconds(self, cost: RunCost, placement: Placement) -> float:
        """Of an epoch, with its share of a validation."""
        steps = cost.steps * self.step_seconds(cost, placement)
        return steps + self.validation_seconds(cost, placement) / cost.val_every + self.epoch_end

    def run_seconds(
        self, cost: RunCost, placement: Placement, epochs: int | None = None, warm: bool = False
    ) -> float:
        """Of a run, or of its last `epochs` after a restart."""
        left = cost.epochs if epochs is None else epochs
        return self.start_seconds(warm) + left * self.epoch_seconds(cost, placement) + self.end

    def extrapolated(self, cost: RunCost, placement: Placement) -> list[str]:
        """What lies outside of all that the constants were measured on, in words."""
        asked = {
            "devices": placement.devices,
            "nodes": placement.nodes,
            "GFLOP a patch": cost.flops / 1e9,
            "MB of gradients": cost.gradient_bytes / 1e6,
        }
        found = []
        for name, value in asked.items():
            low, high = self.known.get(name, (value, value))
            if not 0.999 * low <= value <= 1.001 * high:
                known = f"{low:.3g}" if low == high else f"{low:.3g} to {high:.3g}"
                found.append(f"{name} {value:.3g}, measured at {known}")
        return found

    def describe(self) -> str:
        """What the constants rest on, in a line."""
        if not self.runs:
            return f"{self.name}: {self.source}"
        if len(self.runs) < FEW:
            return f"{self.name}: fitted to {len(self.runs)}, too few to say how well"
        runs = f"{len(self.runs)} runs"
        return f"{self.name}: fitted to {runs}, whose times it gives within {self.error:.0%}"

    def write(self, path: Path) -> None:
        """Write it as JSON, in one piece."""
        write_text(path, json.dumps(asdict(self), indent=1))


def read_timing(given: str) -> Timing:
    """The constants in a file, or of a machine by its name. Raises ConfigError for neither."""
    path = Path(given)
    if not path.is_file():
        path = MACHINES / f"{given}.json"
    if not path.is_file():
        names = ", ".join(sorted(p.stem for p in MACHINES.glob("*.json")))
        raise ConfigError(f"timing: {given} is neither a file nor one of the machines {names}")
    try:
        found = json.loads(path.read_text())
        known = {name: (float(a), float(b)) for name, (a, b) in found.pop("known", {}).items()}
        runs = tuple(map(str, found.pop("runs", ())))
        fields_here = {f.name for f in fields(Timing)}
        constants = {key: value for key, value in found.items() if key in fields_here}
        return Timing(**constants, known=known, runs=runs)
    except (ValueError, TypeError, AttributeError) as error:
        raise ConfigError(f"timing: {path} is not a file of constants ({error})") from error
