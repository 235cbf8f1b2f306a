"""What each trial of a sweep gets of the cluster, and how many trials run at once."""

from __future__ import annotations

from dataclasses import dataclass

from unet3d.config import Config
from unet3d.training.errors import RunError

Node = dict[str, float]  # {"CPU": ..., "GPU": ...}


@dataclass(frozen=True)
class Share:
    """Of one trial. gang: workers of a trial that is data parallel over nodes, else 1."""

    cpus: int
    gpus: float
    gang: int
    at_once: int

    def told(self) -> str:
        """For the terminal."""
        gpus = f" + {self.gpus:g} GPUs" if self.gpus else ""
        workers = f"{self.gang} workers with " if self.gang > 1 else ""
        return f"{workers}{self.cpus} CPUs{gpus}"


def make_share(config: Config, nodes: list[Node], local: bool) -> Share:
    """The share of each trial on a cluster of `nodes`.

    Raises RunError where not even one trial fits, with what is there and what to type.
    """
    if config.nodes > 1:
        return _gang_share(config, nodes, local)
    gpus = _gpus(config, nodes)
    cpus = _cpus(config, nodes, gpus)
    at_once = sum(_fits(node, cpus, gpus) for node in nodes)
    if not at_once:
        raise RunError(
            f"parallel.cpus_per_trial, parallel.gpus_per_trial: a trial asks for {cpus} CPUs and "
            f"{gpus:g} GPUs, and no node has that: {_told(nodes)}; ask for less"
        )
    return Share(cpus, gpus, 1, min(at_once, config.parallel.trials_at_once or at_once))


def _gpus(config: Config, nodes: list[Node]) -> float:
    asked, most = config.parallel.gpus_per_trial, max(node["GPU"] for node in nodes)
    if asked is not None:
        return asked
    if config.parallel.name == "data" and most:
        return config.parallel.devices or most
    return 1.0 if most else 0.0


def _cpus(config: Config, nodes: list[Node], gpus: float) -> int:
    if config.parallel.cpus_per_trial:
        return config.parallel.cpus_per_trial
    if not gpus:
        return config.parallel.devices or 1
    # The least that a GPU finds beside it, so that all GPUs of all nodes can be used.
    beside = min(node["CPU"] / node["GPU"] for node in nodes if node["GPU"])
    return max(1, int(beside * gpus))


def _fits(node: Node, cpus: float, gpus: float) -> int:
    counts = [node["CPU"] // cpus]
    if gpus:  # a fraction of a GPU is of one device; Ray does not put it together from two
        counts.append(node["GPU"] * (1 // gpus) if gpus < 1 else node["GPU"] // gpus)
    return int(min(counts))


def _gang_share(config: Config, nodes: list[Node], local: bool) -> Share:
    """Workers of a gang are on different nodes of a cluster, or share this machine."""
    workers, parallel = config.nodes, config.parallel
    if local:
        (node,) = nodes
        gpus = parallel.gpus_per_node
        gpus = (1 if node["GPU"] >= workers else 0) if gpus is None else gpus
        cpus = parallel.cpus_per_node or 1
        at_once = _fits(node, workers * cpus, gpus * workers)
        at_once = at_once or int(not gpus)  # workers on one machine may share a core
    else:
        best = sorted(nodes, key=lambda n: (n["GPU"], n["CPU"]))[-workers:]
        gpus = parallel.gpus_per_node
        gpus = int(min(n["GPU"] for n in best)) if gpus is None else gpus
        cpus = parallel.cpus_per_node or int(min(n["CPU"] for n in best))
        room = [_fits(node, max(cpus, 1), gpus) for node in nodes]
        at_once = sum(room) // workers
        while at_once and sum(min(count, at_once) for count in room) < at_once * workers:
            at_once -= 1
    if not at_once:
        raise RunError(
            f"nodes: a trial asks for {workers} workers with {cpus} CPUs and {gpus} GPUs each, and "
            f"the cluster has {_told(nodes)}; type less for nodes, parallel.cpus_per_node or "
            "parallel.gpus_per_node"
        )
    return Share(cpus, gpus, workers, min(at_once, parallel.trials_at_once or at_once))


def _told(nodes: list[Node]) -> str:
    return ", ".join(f"{node['CPU']:.0f} CPUs + {node['GPU']:.0f} GPUs" for node in nodes)
