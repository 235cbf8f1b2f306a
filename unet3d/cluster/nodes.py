"""The nodes of a cluster: which of them serve a job, and what each of its workers gets.

docs/decisions/0013-resources-of-a-cluster.md tells how they are chosen and asked for.
"""

from __future__ import annotations

import logging
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from unet3d.cluster.local_ray import check_ray, ray_lives
from unet3d.config.schema import Config
from unet3d.errors import RunError
from unet3d.machine import cores

log = logging.getLogger(__name__)
PLACEMENT_SECONDS = 15.0  # for Ray to free what a former attempt used
ACCELERATOR = "accelerator_type:"
NODES_SHOWN = 6  # in a line
Needs = tuple[float | None, float | None]  # CPUs and GPUs of a node; None: 1, and one if any has


@dataclass(frozen=True)
class Node:
    """A node as Ray counts it. gpu: the kind of its GPUs, such as H100; "" where Ray names none."""

    name: str
    cpus: float
    gpus: float
    address: str = ""
    gpu: str = ""

    def __str__(self) -> str:
        parts = [f"{self.cpus:g} CPUs"] if self.cpus or not self.gpus else []
        parts += [f"{self.gpus:g} GPUs"] if self.gpus else []
        return f"{self.name}: {' + '.join(parts)}"


@dataclass(frozen=True)
class WorkerResources:
    """What each worker gets. strategy: how Ray spreads the workers over nodes."""

    cpus: int
    gpus: int
    strategy: str
    threads: int  # of the CPU; on one machine more than the CPUs that Ray counts

    @property
    def bundle(self) -> dict[str, float]:
        """In Ray's words."""
        counts = {"CPU": float(self.cpus), "GPU": float(self.gpus)}
        return {kind: count for kind, count in counts.items() if count}


def alive_nodes() -> list[Node]:
    """Those that are part of the cluster now, by name."""
    import ray

    found = [
        Node(
            node["NodeManagerHostname"] or node["NodeManagerAddress"],
            node["Resources"].get("CPU", 0.0),
            node["Resources"].get("GPU", 0.0),
            node["NodeManagerAddress"],
            gpu_kind(node["Resources"]),
        )
        for node in ray.nodes()
        if node["Alive"]
    ]
    return sorted(found, key=lambda node: (node.name, node.cpus, node.gpus))


def gpu_kind(resources: Mapping[str, float]) -> str:
    """What Ray has found a node's accelerator to be, which is a resource of that name."""
    named = (name.partition(ACCELERATOR)[2] for name in resources if name.startswith(ACCELERATOR))
    return next(named, "")


def serving(nodes: Sequence[Node], cpus: float | None, gpus: float | None) -> list[Node]:
    """Those that have what is required of one. gpus: None for a GPU, if any of them has one."""
    if gpus is None:
        gpus = 1 if any(node.gpus >= 1 for node in nodes) else 0
    return [node for node in nodes if node.cpus >= (cpus or 1) and node.gpus >= gpus]


def listed(nodes: Sequence[Node]) -> str:
    """In a line, for messages."""
    shown = [str(node) for node in nodes[:NODES_SHOWN]]
    if len(nodes) > NODES_SHOWN:
        shown.append(f"{len(nodes) - NODES_SHOWN} more")
    return ", ".join(shown)


def wait_for_nodes(
    config: Config, wanted: int, fitting: Callable[[Sequence[Node]], list[Node]], needs: Needs
) -> list[Node]:
    """The nodes that fit, once there are `wanted`.

    needs: CPUs and GPUs of a node, as `serving` takes them; an autoscaler is asked for nodes that
    have them. Raises RunError with what the cluster has after parallel.wait_for_nodes.
    """
    deadline = time.monotonic() + config.parallel.wait_for_nodes
    found = fitting(alive_nodes())
    if len(found) < wanted and time.monotonic() < deadline:
        log.info("parallel: waiting for %d nodes that fit, %d have joined", wanted, len(found))
        cpus, gpus = needs
        counts = {"CPU": float(cpus or 1), "GPU": float(gpus or 0)}
        bundle = {kind: count for kind, count in counts.items() if count}
        with asked_for([bundle] * wanted):
            while len(found) < wanted and time.monotonic() < deadline:
                time.sleep(1)
                check_ray()
                found = fitting(alive_nodes())
    if len(found) < wanted:
        raise RunError(_too_few(config, wanted, len(found), needs))
    return found


@contextmanager
def asked_for(bundles: list[dict[str, float]]) -> Iterator[None]:
    """Have an autoscaler, where the cluster has one, see a demand for nodes with these resources.

    A placement group that waits is such a demand, of this job alone; it ends with the job.
    """
    from ray.util import placement_group, remove_placement_group

    demand = placement_group(bundles, strategy="STRICT_SPREAD")
    try:
        yield
    finally:
        if ray_lives():
            remove_placement_group(demand)


def choose_resources(
    config: Config, local: bool, workers: int, before: WorkerResources | None = None
) -> WorkerResources:
    """What each of `workers` gets, once there are nodes for all of them; logs what stays unused.

    before: of the attempt before; a job that had GPUs does not go on without. Raises RunError with
    what the cluster has and what is required, after parallel.wait_for_nodes.
    """
    if local:
        return _local_resources(config, workers)
    cpus, gpus = config.parallel.cpus_per_node, config.parallel.gpus_per_node
    needs = required(config, before)
    nodes = wait_for_nodes(
        config,
        workers if before else max(workers, config.parallel.min_nodes or 1),
        lambda alive: serving(alive, *needs),
        needs,
    )
    best = sorted(nodes, key=lambda node: (node.gpus, node.cpus))[-workers:]
    poorest = min(best, key=lambda node: (node.gpus, node.cpus))
    resources = WorkerResources(
        cpus=cpus or int(min(node.cpus for node in best)),
        gpus=int(poorest.gpus) if gpus is None else gpus,
        strategy="STRICT_SPREAD",
        threads=cpus or int(min(node.cpus for node in best)),
    )
    if resources != before:
        _announce(resources, best, poorest)
    return resources


def required(config: Config, before: WorkerResources | None) -> Needs:
    """CPUs and GPUs of a node that serves, as `serving` takes them; before: as choose_resources."""
    gpus = config.parallel.gpus_per_node
    had_gpus = gpus is None and before is not None and before.gpus
    return config.parallel.cpus_per_node, 1 if had_gpus else gpus


def _announce(resources: WorkerResources, best: Sequence[Node], poorest: Node) -> None:
    """The choice, why, and what stays unused of the cluster."""
    gpus = f" + {resources.gpus} GPUs" if resources.gpus else ""
    uneven = len({(node.cpus, node.gpus) for node in best}) > 1
    log.info(
        "parallel: %d workers with %d CPUs%s each%s",
        len(best),
        resources.cpus,
        gpus,
        f", what {poorest.name} has" if uneven else "",
    )
    left = [
        Node(node.name, node.cpus - resources.cpus, node.gpus - resources.gpus) for node in best
    ]
    others = Counter(alive_nodes()) - Counter(best)
    log_unused([*left, *others.elements()])


def log_unused(left: Sequence[Node]) -> None:
    """What no worker gets of each node; a warning where that is a GPU."""
    unused = [node for node in left if node.gpus > 0 or node.cpus >= 1]
    unused.sort(key=lambda node: (-node.gpus, node.name))
    if unused:
        level = logging.WARNING if unused[0].gpus > 0 else logging.INFO
        log.log(level, "parallel: unused of %s", listed(unused))


def _local_resources(config: Config, workers: int) -> WorkerResources:
    import ray

    available = int(ray.cluster_resources().get("GPU", 0))
    gpus = config.parallel.gpus_per_node
    if gpus is None:
        gpus = available // workers
        if available and not gpus:
            raise RunError(
                f"nodes: {workers} local workers cannot share {available} GPUs; type nodes=1 "
                f"for all of them in one process, nodes={available}, or parallel.gpus_per_node=0"
            )
    elif gpus * workers > available:
        raise RunError(
            f"parallel.gpus_per_node: {workers} workers need {gpus} GPUs each, and this machine "
            f"has {available}; type parallel.gpus_per_node={available // workers}, or name a "
            "cluster with parallel.address"
        )
    if left := available - gpus * workers:
        log.warning("parallel: %d of this machine's %d GPUs stay unused", left, available)
    threads = config.parallel.cpus_per_node or max(1, cores() // workers)
    return WorkerResources(cpus=1, gpus=gpus, strategy="PACK", threads=threads)


def reserve_workers(config: Config, resources: WorkerResources, workers: int) -> Any:
    """A placement group with the resources of each worker: Ray grants all of them or none.

    Raises RunError where a busy cluster has no room within parallel.wait_for_nodes.
    """
    from ray.util import placement_group, remove_placement_group

    seconds = max(config.parallel.wait_for_nodes, PLACEMENT_SECONDS)
    placement = placement_group([resources.bundle] * workers, strategy=resources.strategy)
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        if placement.wait(1):
            return placement
        check_ray()
    remove_placement_group(placement)
    raise RunError(
        f"nodes: the cluster has {workers} nodes with {resources.cpus} CPUs and {resources.gpus} "
        f"GPUs, but they were busy for {seconds:.0f} s. `ray status` shows what runs; wait longer "
        "with parallel.wait_for_nodes, or require less with parallel.cpus_per_node and "
        "parallel.gpus_per_node"
    )


def _too_few(config: Config, wanted: int, fitting: int, needs: Needs) -> str:
    alive, (cpus, gpus) = alive_nodes(), needs
    chosen = gpus is None and any(node.gpus >= 1 for node in alive)
    gpus = 1 if chosen else gpus
    what = f"{cpus or 1} CPUs" + (f" + {gpus} GPUs" if gpus else "")
    why = " (as nodes have GPUs, those without do not serve)" if chosen else ""
    setting = "parallel.min_nodes" if wanted > config.nodes else "nodes"
    fewer = max(1, fitting)
    advice = f"type {setting}={fewer}" if fewer < wanted else "require less"
    if chosen:
        advice += ", or parallel.gpus_per_node=0 for the CPUs"
    return (
        f"{setting}: {wanted} with {what} each are required{why}, {fitting} of the cluster's "
        f"{len(alive)} fit ({listed(alive)}); add nodes with `ray start --address=...`, {advice}, "
        "or wait for them with parallel.wait_for_nodes=<seconds>"
    )
