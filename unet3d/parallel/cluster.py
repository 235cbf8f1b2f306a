"""The Ray cluster of a run: one that is there, or workers of this machine, and what they offer."""

from __future__ import annotations

import logging
import os
import socket
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from unet3d.config import Config
from unet3d.parallel.place import cores
from unet3d.training.errors import RunError

log = logging.getLogger(__name__)
CONNECT_SECONDS = 5.0  # for a port to answer
PLACEMENT_SECONDS = 15.0  # for resources that Ray is just giving back


@dataclass(frozen=True)
class Offer:
    """What each worker gets. strategy: how Ray spreads the workers; threads: of CPU, or Ray's."""

    cpus: int
    gpus: int
    strategy: str
    threads: int

    @property
    def resources(self) -> dict[str, float]:
        """In Ray's words."""
        asked = {"CPU": float(self.cpus), "GPU": float(self.gpus)}
        return {kind: count for kind, count in asked.items() if count}


@contextmanager
def ray_cluster(config: Config, here: str, **settings: Any) -> Iterator[bool]:
    """Connect to the configured cluster, or start Ray here; yields whether it is this machine's.

    here: what is told where no cluster is named. settings: of ray.init.
    Raises RunError where no cluster answers at the address, after parallel.wait_for_nodes.
    """
    os.environ.setdefault("RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO", "0")
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    import ray

    address = config.parallel.address or os.environ.get("RAY_ADDRESS")
    _check_port(address or "", config.parallel.wait_for_nodes)
    quiet: Any = {"log_to_driver": False, "logging_level": logging.ERROR, **settings}
    try:
        if address and address != "local":
            ray.init(address, **quiet)
        else:
            log.info("parallel: no Ray cluster is named, hence %s", here)
            own = {
                "num_cpus": max(config.nodes, cores()),
                "include_dashboard": False,
                "object_store_memory": 100 * 2**20,  # nothing large goes through it
            }
            ray.init("local", **{**own, **quiet})
    except (ConnectionError, ValueError, RuntimeError, ray.exceptions.RayError) as error:
        raise _no_cluster(address or "", error) from error
    try:
        yield not address or address == "local"
    finally:
        ray.shutdown()


def _check_port(address: str, seconds: float) -> None:
    """RunError where nothing listens at host:port within `seconds`; Ray would try for minutes."""
    host, _, port = address.rpartition("://")[2].rpartition(":")
    if not (host and port.isdecimal()):
        return  # auto, or a word that Ray knows
    deadline = time.monotonic() + seconds
    while True:
        try:
            socket.create_connection((host.strip("[]"), int(port)), CONNECT_SECONDS).close()
            return
        except (OSError, OverflowError) as error:
            if time.monotonic() >= deadline:
                raise _no_cluster(address, error) from error
        time.sleep(1)


def _no_cluster(address: str, error: Exception) -> RunError:
    return RunError(
        f"parallel.address: no Ray cluster answers at {address} "
        f"({str(error).splitlines()[0][:120]}); start one with `ray start --head`, or leave "
        "parallel.address and RAY_ADDRESS unset for workers on this machine"
    )


def offer(config: Config, local: bool, workers: int) -> Offer:
    """What each of `workers` gets, once there are nodes for all of them.

    Raises RunError that says what is there and what was asked, after parallel.wait_for_nodes.
    """
    if local:
        return _local_offer(config, workers)
    deadline = time.monotonic() + config.parallel.wait_for_nodes
    told = False
    while len(nodes := fitting_nodes(config)) < workers and time.monotonic() < deadline:
        if not told:
            log.info("parallel: waiting for %d nodes, %d are there", workers, len(nodes))
            told = True
        time.sleep(1)
    if len(nodes) < workers:
        raise RunError(_too_few(config, workers, len(nodes)))
    best = sorted(nodes, key=lambda node: (node["GPU"], node["CPU"]))[-workers:]
    gpus, cpus = config.parallel.gpus_per_node, config.parallel.cpus_per_node
    return Offer(
        cpus=cpus or int(min(node["CPU"] for node in best)),
        gpus=int(min(node["GPU"] for node in best)) if gpus is None else gpus,
        strategy="STRICT_SPREAD",
        threads=cpus or int(min(node["CPU"] for node in best)),
    )


def fitting_nodes(config: Config) -> list[dict[str, float]]:
    """CPUs and GPUs of each node that is alive and has what is asked of a node."""
    import ray

    asked = {
        "CPU": config.parallel.cpus_per_node or 1,
        "GPU": config.parallel.gpus_per_node or 0,
    }
    alive = [
        {kind: node["Resources"].get(kind, 0) for kind in asked}
        for node in ray.nodes()
        if node["Alive"]
    ]
    return [node for node in alive if all(node[kind] >= asked[kind] for kind in asked)]


def _local_offer(config: Config, workers: int) -> Offer:
    import ray

    there = int(ray.cluster_resources().get("GPU", 0))
    gpus = config.parallel.gpus_per_node
    if gpus is None:
        gpus = there // workers
        if there and not gpus:
            raise RunError(
                f"nodes: {workers} local workers cannot share {there} GPUs; type nodes=1 "
                f"for all of them in one process, nodes={there}, or parallel.gpus_per_node=0"
            )
    elif gpus * workers > there:
        raise RunError(
            f"parallel.gpus_per_node: {workers} workers with {gpus} GPUs are asked, this machine "
            f"has {there}; type parallel.gpus_per_node={there // workers}, or name a cluster "
            "with parallel.address"
        )
    threads = config.parallel.cpus_per_node or max(1, cores() // workers)
    return Offer(cpus=1, gpus=gpus, strategy="PACK", threads=threads)


def reserve(config: Config, chosen: Offer, workers: int) -> Any:
    """A placement group with a place for each worker: Ray grants all of them or none.

    Raises RunError where a busy cluster has no room in parallel.wait_for_nodes.
    """
    from ray.util import placement_group, remove_placement_group

    seconds = max(config.parallel.wait_for_nodes, PLACEMENT_SECONDS)
    group = placement_group([chosen.resources] * workers, strategy=chosen.strategy)
    if group.wait(seconds):
        return group
    remove_placement_group(group)
    raise RunError(
        f"nodes: the cluster has {workers} nodes with {chosen.cpus} CPUs and {chosen.gpus} GPUs, "
        f"but others use them; nothing was free in {seconds:.0f} s. `ray status` shows what runs; "
        "wait longer with parallel.wait_for_nodes, or ask less with parallel.cpus_per_node and "
        "parallel.gpus_per_node"
    )


def _too_few(config: Config, workers: int, fitting: int) -> str:
    import ray

    alive = [node["Resources"] for node in ray.nodes() if node["Alive"]]
    there = ", ".join(f"{n.get('CPU', 0):.0f} CPUs + {n.get('GPU', 0):.0f} GPUs" for n in alive)
    asked = f"{config.parallel.cpus_per_node or 1} CPUs"
    if config.parallel.gpus_per_node:
        asked += f" + {config.parallel.gpus_per_node} GPUs"
    return (
        f"nodes: {workers} are asked with {asked} each, {fitting} of the cluster's {len(alive)} "
        f"fit ({there}); add nodes with `ray start --address=...`, type nodes={max(1, fitting)}, "
        "or wait for them with parallel.wait_for_nodes=<seconds>"
    )
