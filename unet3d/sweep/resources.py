"""What each trial of a sweep gets of the cluster, and how many trials run at once."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial

from unet3d.cluster.nodes import (
    Needs,
    Node,
    alive_nodes,
    listed,
    log_unused,
    serving,
    wait_for_nodes,
)
from unet3d.config.schema import Config
from unet3d.errors import RunError

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class TrialResources:
    """What one trial gets. workers_per_trial: above 1 where a trial is itself data parallel."""

    cpus: int
    gpus: float
    workers_per_trial: int
    at_once: int

    def describe(self) -> str:
        """In words, for the terminal."""
        gpus = f" + {self.gpus:g} GPUs" if self.gpus else ""
        workers = f"{self.workers_per_trial} workers with " if self.workers_per_trial > 1 else ""
        return f"{workers}{self.cpus} CPUs{gpus}"

    @property
    def bundles(self) -> list[dict[str, float]]:
        """Of a trial's workers, in Ray's words."""
        counts = {"CPU": float(self.cpus), "GPU": float(self.gpus)}
        return [{kind: n for kind, n in counts.items() if n}] * self.workers_per_trial

    def replicas(self, config: Config) -> tuple[str, ...]:
        """Overrides with which a trial alone has as many replicas as here, where GPUs decide it."""
        gpus = int(self.gpus)
        if config.parallel.name != "data" or not gpus:
            return ()
        if config.nodes > 1:
            given, key = config.parallel.gpus_per_node, "parallel.gpus_per_node"
        else:
            given, key = config.parallel.devices, "parallel.devices"
        return (f"{key}={gpus}",) if given is None else ()

    def room(self, nodes: Sequence[Node]) -> int:
        """How many trials these nodes can take at once, if nothing else runs there."""
        each = [_fits(node, self.cpus, self.gpus) for node in nodes]
        if self.workers_per_trial == 1:
            return sum(each)
        trials = sum(each) // self.workers_per_trial  # the workers of one are on different nodes
        while trials and sum(min(n, trials) for n in each) < trials * self.workers_per_trial:
            trials -= 1
        return trials


def devices_of_slot(resources: TrialResources) -> float:
    """GPUs of a trial, a share of one counting as such; without GPUs each worker is a device."""
    return (resources.gpus or 1) * resources.workers_per_trial


def choose_from_cluster(config: Config, local: bool) -> tuple[TrialResources, int]:
    """What each trial gets of the nodes that are there, and the number of machines.

    Waits, as long as parallel.wait_for_nodes, for nodes that fit: parallel.min_nodes of them, and
    at least what one trial needs. Raises RunError where there are too few.
    """
    if not local:
        wanted = max(config.nodes, config.parallel.min_nodes or 1)
        try:
            wait_for_nodes(
                config, wanted, partial(_fitting, config, local=local), _asked_by_trial(config)
            )
        except RunError:
            if config.parallel.min_nodes is not None:
                raise  # else, the error below names what a trial lacks
    nodes = alive_nodes()
    resources = choose_trial_resources(config, nodes, local)
    _log_what_is_unused(config, resources, nodes)
    return resources, len({node.address for node in nodes if node.cpus})


def choose_trial_resources(config: Config, nodes: Sequence[Node], local: bool) -> TrialResources:
    """What each trial gets on a cluster of `nodes`.

    Raises RunError where not even one trial fits, with what the cluster has and what to type.
    """
    if config.nodes > 1:
        return _worker_group_resources(config, nodes, local)
    gpus = _gpus(config, nodes)
    cpus = _cpus(config, nodes, gpus)
    at_once = TrialResources(cpus, gpus, 1, 0).room(nodes)
    if not at_once:
        raise RunError(
            f"parallel.cpus_per_trial, parallel.gpus_per_trial: a trial asks for {cpus} CPUs and "
            f"{gpus:g} GPUs, and no node has that: {listed(nodes)}; ask for less"
        )
    return TrialResources(cpus, gpus, 1, min(at_once, config.parallel.trials_at_once or at_once))


def _fitting(config: Config, nodes: Sequence[Node], local: bool) -> list[Node]:
    """The nodes that can take at least one trial, or one worker of it."""
    try:
        resources = choose_trial_resources(config, nodes, local)
    except RunError:
        return []
    return [node for node in nodes if _fits(node, resources.cpus, resources.gpus)]


def _log_what_is_unused(config: Config, resources: TrialResources, nodes: Sequence[Node]) -> None:
    """The nodes that no trial fits, and the GPUs that are left over beside trials."""
    left = []
    for node in nodes:
        trials = _fits(node, resources.cpus, resources.gpus)
        gpus = round(node.gpus - trials * resources.gpus, 6) if resources.gpus else 0.0
        left.append(Node(node.name, 0.0 if trials else node.cpus, gpus))
    log_unused(left)
    if resources.gpus > 1 and config.parallel.name != "data":
        log.warning(
            "parallel.gpus_per_trial: a trial computes on one of its %g GPUs; with parallel=data, "
            "on all of them",
            resources.gpus,
        )


def _asked_by_trial(config: Config) -> Needs:
    """CPUs and GPUs of a trial's worker as far as settings say, to ask an autoscaler for."""
    parallel = config.parallel
    if config.nodes > 1:
        return parallel.cpus_per_node, parallel.gpus_per_node
    return parallel.cpus_per_trial, parallel.gpus_per_trial


def _gpus(config: Config, nodes: Sequence[Node]) -> float:
    given, most = config.parallel.gpus_per_trial, max((node.gpus for node in nodes), default=0.0)
    if given is not None:
        return given
    if config.parallel.gpus_per_node is not None:  # of train.py with nodes=1
        most = min(most, config.parallel.gpus_per_node)
    if config.parallel.name == "data" and most:
        return config.parallel.devices or most
    return 1.0 if most else 0.0


def _cpus(config: Config, nodes: Sequence[Node], gpus: float) -> int:
    if config.parallel.cpus_per_trial:
        return config.parallel.cpus_per_trial
    if not gpus:
        return config.parallel.devices or 1
    # The fewest CPUs per GPU of any node, so that all GPUs of all nodes can be used.
    per_gpu = min((node.cpus / node.gpus for node in nodes if node.gpus), default=0)
    return max(1, int(per_gpu * gpus))


def _fits(node: Node, cpus: float, gpus: float) -> int:
    counts = [node.cpus // cpus] if cpus else []
    if gpus:  # Ray takes a fraction of a GPU from one device, not from two
        counts.append(node.gpus * (1 // gpus) if gpus < 1 else node.gpus // gpus)
    return int(min(counts, default=0))


def _worker_group_resources(config: Config, nodes: Sequence[Node], local: bool) -> TrialResources:
    """The workers of a trial are on different nodes of a cluster, or share this machine."""
    workers, parallel = config.nodes, config.parallel
    if local:
        (node,) = nodes
        gpus = parallel.gpus_per_node
        gpus = (1 if node.gpus >= workers else 0) if gpus is None else gpus
        cpus = parallel.cpus_per_node or 1
        at_once = _fits(node, workers * cpus, gpus * workers)
        at_once = at_once or int(not gpus)  # workers on one machine may share a core
    else:
        serve = serving(nodes, parallel.cpus_per_node, parallel.gpus_per_node)
        best = sorted(serve, key=lambda node: (node.gpus, node.cpus))[-workers:]
        gpus = parallel.gpus_per_node
        gpus = int(min((n.gpus for n in best), default=0)) if gpus is None else gpus
        cpus = parallel.cpus_per_node or int(min((n.cpus for n in best), default=1))
        at_once = TrialResources(cpus, gpus, workers, 0).room(serve)
    if not at_once:
        raise RunError(
            f"nodes: a trial asks for {workers} workers with {cpus} CPUs and {gpus} GPUs each, and "
            f"the cluster has {listed(nodes)}; type less for nodes, parallel.cpus_per_node or "
            "parallel.gpus_per_node"
        )
    return TrialResources(cpus, gpus, workers, min(at_once, parallel.trials_at_once or at_once))
