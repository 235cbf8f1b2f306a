"""What each trial of a sweep will take, before any begins: memory, hours, price."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

from unet3d import machine
from unet3d.config.batch import with_replicas
from unet3d.config.schema import AUTO, Config
from unet3d.distributed.gpus import gpu_share
from unet3d.errors import DataError, RunError
from unet3d.planning.gantt import clock, table
from unet3d.planning.patch import format_gigabytes
from unet3d.planning.simulated import SimulatedTrial
from unet3d.planning.timing import Timing
from unet3d.sweep.forecast.forecast import simulated_trials
from unet3d.sweep.resources import TrialResources, devices_of_slot
from unet3d.sweep.trial import Trial
from unet3d.training.run_cost import trials_like

GB = 1e9
HOUR = 3600.0
NAMED = 5  # trials in a message
FULL_SIZE_MAPS = (
    64  # of the network's first width: more than any of ours keeps for its backward pass
)
HEADINGS = ("trial", "settings", "memory", "time", "device-hours", "price")


@dataclass(frozen=True)
class Capacity:
    """Bytes that a replica can have at the most, 0 where not known. origin: of what."""

    bytes: float
    origin: str


@dataclass(frozen=True)
class TrialCost:
    """memory: bytes of a replica's step, None with an automatic patch, which is chosen to fit, and
    where it cannot be counted; seconds: None where no run says how fast devices are."""

    trial: Trial
    memory: float | None
    seconds: float | None
    devices: float
    probed: bool = False  # whether both are measured

    @property
    def device_hours(self) -> float | None:
        """Of all devices that it keeps."""
        return None if self.seconds is None else self.seconds * self.devices / HOUR

    def cells(self, capacity: Capacity, price: float | None) -> tuple[str, ...]:
        """A row of HEADINGS. price: of a device hour."""
        hours = self.device_hours
        memory = "chosen to fit" if self.trial.config.data.patch == AUTO else "-"
        if self.memory is not None:
            memory = format_gigabytes(self.memory)
            memory += " probed" if self.probed else ""
            memory += " does not fit" if too_large(self, capacity) else ""
        return (
            str(self.trial.number),
            self.trial.name,
            memory,
            "-" if self.seconds is None else clock(self.seconds) + " probed" * self.probed,
            "-" if hours is None else f"{hours:.3g}",
            "-" if hours is None or price is None else f"{hours * price:.2f}",
        )


def capacity_of(config: Config, resources: TrialResources, local: bool) -> Capacity:
    """All that a replica could have, of a GPU or of this machine; more does not fit for sure.

    On other nodes it is not known but by data.patch_memory.
    """
    if config.data.patch_memory is not None:
        return Capacity(config.data.patch_memory * GB, "data.patch_memory")
    if not local:
        return Capacity(0.0, "")
    if resources.gpus:
        sizes, share = machine.gpu_sizes(), gpu_share(config)
        if not sizes:
            return Capacity(0.0, "")
        part = f"{share:g} of " if share < 1 else ""
        return Capacity(min(sizes) * share, f"{part}a GPU of {min(sizes) / GB:.1f} GB")
    memory = machine.machine_memory()
    at_once = resources.at_once
    origin = f"the machine's {memory / GB:.1f} GB"
    return Capacity(memory / at_once, origin + (f" for {at_once} trials" if at_once > 1 else ""))


def too_large(cost: TrialCost, capacity: Capacity) -> bool:
    """Whether a step cannot fit."""
    return cost.memory is not None and 0 < capacity.bytes < cost.memory


def trial_costs(
    trials: Sequence[Trial], resources: TrialResources, timing: Timing | None
) -> list[TrialCost]:
    """What each takes. Raises DataError where the store of one is not built."""
    configs = [with_replicas(one.config, _replicas(one.config, resources)) for one in trials]
    simulated = trials_like(configs, len(trials))
    seconds: Sequence[float | None] = [None] * len(trials)
    if timing is not None:
        seconds = simulated_trials(simulated, resources, timing)
    return [
        TrialCost(trial, _memory(trial, one, resources), taken, devices_of_slot(resources))
        for trial, one, taken in zip(trials, simulated, seconds, strict=True)
    ]


def _memory(trial: Trial, one: SimulatedTrial, resources: TrialResources) -> float | None:
    if trial.config.data.patch == AUTO:
        return None
    return one.cost.memory(_replicas(trial.config, resources))


def _replicas(config: Config, resources: TrialResources) -> int:
    if config.parallel.name != "data":
        return 1
    return max(1, int(resources.gpus)) * resources.workers_per_trial


def cost_lines(costs: Sequence[TrialCost], capacity: Capacity, price: float | None) -> list[str]:
    """The table, and what all of them take together. price: of a device hour."""
    lines = table([HEADINGS, *(cost.cells(capacity, price) for cost in costs)])
    hours = [cost.device_hours for cost in costs]
    if all(one is not None for one in hours):
        total = sum(one for one in hours if one is not None)
        paid = "" if price is None else f", {total * price:.2f} at {price:g} an hour"
        lines.append(f"all trials: {total:.3g} device-hours{paid}")
    return lines


def check_fit(costs: Sequence[TrialCost], capacity: Capacity) -> None:
    """Raise RunError that names the trials whose step cannot fit."""
    large = [cost for cost in costs if too_large(cost, capacity)]
    if not large:
        return
    named = ", ".join(
        f"{one.trial.number} ({one.trial.name}: {format_gigabytes(one.memory or 0)})"
        for one in large[:NAMED]
    )
    more = f" and {len(large) - NAMED} more" if len(large) > NAMED else ""
    trials, them = ("trials", "them") if len(large) > 1 else ("trial", "it")
    raise RunError(
        f"memory: a step of {trials} {named}{more} cannot fit in "
        f"{format_gigabytes(capacity.bytes)}, {capacity.origin}; leave {them} out, or type "
        "a larger accumulate, a smaller data.patch, batch_size or model.filters"
    )


def surely_small(config: Config, resources: TrialResources, capacity: Capacity) -> bool:
    """Whether a trial fits without a doubt, so that its network need not be built to know it."""
    if config.data.patch == AUTO or not capacity.bytes:
        return True
    if config.data.patch is None or config.model.name in ("own", "mednext"):
        return False
    replicas = _replicas(config, resources)
    batch = with_replicas(config, replicas).batch_size
    at_once = math.ceil(batch / (replicas * config.accumulate))
    values = at_once * math.prod(config.data.patch) * config.model.filters * FULL_SIZE_MAPS
    weights = 27 * 2 * 3 * config.model.max_filters**2 * (2 * config.model.depth + 2)
    return 4.0 * (values + 4 * weights) < capacity.bytes


def check_trials(
    trials: Sequence[Trial], resources: TrialResources, config: Config, local: bool
) -> None:
    """Raise RunError, before any begins, where a step of a trial cannot fit.

    config: what they have in common.
    """
    capacity = capacity_of(config, resources, local)
    doubtful = [t for t in trials if not surely_small(t.config, resources, capacity)]
    try:
        costs = trial_costs(doubtful, replace(resources, at_once=1), None)
    except (RunError, DataError):  # what is wrong there shows where the trial is set up
        return
    check_fit(costs, capacity)
