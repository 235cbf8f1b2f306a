"""parallel=auto: what a simulation over the devices that there are chooses, put into settings."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

from unet3d import machine
from unet3d.cluster.nodes import Node, alive_nodes
from unet3d.cluster.ray_cluster import cluster_address, ray_cluster
from unet3d.config.schema import Config
from unet3d.errors import ConfigError, RunError
from unet3d.planning.choose_parallel import Choice, choose_parallel, what_fits
from unet3d.planning.memory import GB, GPU_SHARE, RAM_SHARE
from unet3d.planning.simulated import Cluster
from unet3d.planning.timing import Timing, read_timing
from unet3d.sweep.forecast.known_timing import timing_for
from unet3d.sweep.plan import SweepPlan
from unet3d.training.run_cost import trials_like

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Devices:
    """What trials may be spread over. memory: bytes of a device; 0 where it is not known."""

    cluster: Cluster
    gpus: bool
    memory: float


def devices_of_nodes(nodes: Sequence[Node], local: bool, config: Config) -> Devices:
    """The GPUs of those nodes that have any, else a CPU each; of unequal nodes the fewest.

    Of CPU nodes only one counts, as gradients leave a node from GPUs or from whole nodes.
    """
    with_gpus = [node for node in nodes if node.gpus >= 1]
    if with_gpus:
        size = int(min(node.gpus for node in with_gpus))
        sizes = machine.gpu_sizes() if local else []
        memory = min(sizes) * GPU_SHARE if sizes else 0.0
        devices = Devices(Cluster(len(with_gpus), size), True, memory)
    else:
        size = int(max((node.cpus for node in nodes), default=1)) or 1
        memory = machine.machine_memory() * RAM_SHARE / size if local else 0.0
        devices = Devices(Cluster(1, size), False, memory)
    if config.data.patch_memory is not None:
        devices = replace(devices, memory=config.data.patch_memory * GB)
    return devices


def known_or_default(config: Config, gpus: bool) -> Timing:
    """The timing of runs in output_dir, or that of a built-in machine, which is said."""
    try:
        return timing_for(None, None, config.output_dir)
    except RunError:
        name = "v100" if gpus else "cpu"
        log.info("parallel=auto: nothing is measured yet; the constants of %s are assumed", name)
        return read_timing(name)


def choose_for_trials(configs: Sequence[Config], total: int, devices: Devices) -> Choice:
    """The way to run `total` trials like `configs`. Raises ConfigError where none fits."""
    trials = trials_like(configs, total)
    timing = known_or_default(configs[0], devices.gpus)
    choice = choose_parallel(trials, devices.cluster, timing, devices.memory)
    if choice is None:
        raise ConfigError(
            f"parallel=auto: {what_fits([trial.cost for trial in trials], devices.memory)}"
        )
    log.info("parallel=auto, simulated with %s:", timing.describe())
    for line in choice.lines():
        log.info("  %s", line)
    return choice


def placed(config: Config, devices: int, cluster: Cluster, alone: str) -> Config:
    """The settings of a run on so many devices. alone: the mode of a run on one."""
    size = cluster.devices_per_node
    if devices == 1:
        return replace(config, parallel=replace(config.parallel, name=alone))
    if devices <= size:
        return replace(config, parallel=replace(config.parallel, name="data", devices=devices))
    parallel = replace(config.parallel, name="data", gpus_per_node=size)
    return replace(config, parallel=parallel, nodes=devices // size)


def decided(config: Config) -> Config:
    """The settings of a single run with a mode in place of auto; a tag says what was considered."""
    from unet3d.training.setup import make_data

    make_data(config)  # an error in the data shows first, and the store is built
    if cluster_address(config) is None:
        gpus = machine.gpu_sizes()
        local, nodes = True, [Node("this machine", 1.0, float(len(gpus)))]  # threads share the CPU
    else:
        with ray_cluster(config, "the run trains here") as local:
            nodes = alive_nodes()
    devices = devices_of_nodes(nodes, local, config)
    choice = choose_for_trials([config], 1, devices)
    config = placed(config, choice.best.devices, devices.cluster, "none")
    tags = {**config.tracking.tags, "parallel.auto": choice.summary()}
    return replace(config, tracking=replace(config.tracking, tags=tags))


def with_parallelism(plan: SweepPlan, local: bool) -> SweepPlan:
    """The plan with the parallelism that parallel=auto chooses for its trials."""
    devices = devices_of_nodes(alive_nodes(), local, plan.config)
    configs = [trial.config for trial in plan.trials]
    choice = choose_for_trials(configs, plan.total, devices)

    def place(config: Any) -> Any:
        return placed(config, choice.best.devices, devices.cluster, "experiment")

    trials = [replace(trial, config=place(trial.config)) for trial in plan.trials]
    return replace(plan, config=place(plan.config), trials=trials, auto=choice.summary())
