"""The devices that a study is measured on: GPUs, CPUs of this machine, or nodes of a cluster."""

from __future__ import annotations

import platform
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from unet3d import machine
from unet3d.cluster.nodes import Node, alive_nodes
from unet3d.cluster.ray_cluster import cluster_address, ray_cluster
from unet3d.config.schema import Config

GPUS, CPUS, NODES = "GPUs", "CPUs", "nodes"
GB = 1e9


@dataclass(frozen=True)
class StudyDevices:
    """What trials are spread over. per_node: devices of a node; cpus: of one that is a device.

    machine: what it is, to be kept with what was measured on it; device: the kind of one device.
    """

    kind: str
    count: int
    per_node: int
    machine: str
    place: str = "this machine"
    cpus: int = 1
    device: str = ""


def find_devices(config: Config) -> StudyDevices:
    """The GPUs of this machine or else its CPUs; of a cluster its GPUs or else its nodes.

    Raises RunError where no cluster answers at parallel.address.
    """
    if cluster_address(config) is not None:
        with ray_cluster(config, ""):
            return devices_of_cluster(alive_nodes())
    sizes = machine.gpu_sizes()
    count = len(sizes) or machine.cores()
    device = _kinds(machine.gpu_names(), "GPU") if sizes else f"a core of {_processor()}"
    return StudyDevices(GPUS if sizes else CPUS, count, count, this_machine(sizes), device=device)


def _kinds(names: Sequence[str], unnamed: str) -> str:
    """The different ones of these names, as "2 A and 1 B" where there are several."""
    counts = Counter(name or unnamed for name in names)
    if len(counts) == 1:
        return next(iter(counts))
    return " and ".join(f"{count} {name}" for name, count in counts.items())


def devices_of_cluster(nodes: Sequence[Node]) -> StudyDevices:
    """Of unequal nodes each counts as the smallest."""
    with_gpus = [node for node in nodes if node.gpus >= 1]
    serving = with_gpus or [node for node in nodes if node.cpus >= 1]
    kinds = Counter(f"{node.cpus:g} CPUs and {node.gpus:g} GPUs" for node in serving)
    described = ", ".join(
        f"a node with {kind}" if count == 1 else f"{count} nodes with {kind} each"
        for kind, count in kinds.items()
    )
    machine_line = f"a Ray cluster: {described or 'no nodes'}"
    cpus = int(min((node.cpus for node in serving), default=1))
    if not with_gpus:
        node = f"a node with {cpus} CPUs"
        return StudyDevices(NODES, len(serving), 1, machine_line, "the cluster", cpus, node)
    size = int(min(node.gpus for node in with_gpus))
    device = _kinds([node.gpu for node in with_gpus], "GPU")
    count = size * len(with_gpus)
    return StudyDevices(GPUS, count, size, machine_line, "the cluster", cpus, device)


def this_machine(gpu_bytes: Sequence[int]) -> str:
    """Cores, memory and GPUs in a line, as they are for this process."""
    memory = machine.machine_memory() / GB
    line = f"{machine.cores()} cores ({_processor()}), {memory:.0f} GB of memory"
    sizes = Counter(f"{size / GB:.0f} GB" for size in gpu_bytes)
    return ", ".join([line, *(f"{count} GPUs with {size}" for size, count in sizes.items())])


def _processor() -> str:
    """The product's name, where the kernel says it."""
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        lines = []
    names = (line.partition(":")[2].strip() for line in lines if line.startswith("model name"))
    return next(names, "") or platform.machine()
