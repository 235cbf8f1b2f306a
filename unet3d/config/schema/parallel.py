"""Settings of replicas, workers and the resources of a trial."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Optional

from omegaconf import MISSING

from unet3d.config.allowed import (
    AT_LEAST_0,
    AT_LEAST_1,
    COMPRESSION,
    GPUS,
    NAME,
    PORTS,
    RUN_ID,
    at_least,
    one_of,
)
from unet3d.config.setting import NO_EFFECT, setting


@dataclass
class ParallelConfig:
    """Where and over how many devices a run trains."""

    name: str = setting(MISSING, "the mode, set by parallel=<choice>", effect=NO_EFFECT)
    devices: Optional[int] = setting(
        None,
        "nodes=1: number of replicas, GPUs or else logical CPUs; null: all GPUs; "
        "changes the result a little with model.norm=batch, or with lr_scaling",
        AT_LEAST_1,
        NO_EFFECT,
    )
    address: Optional[str] = setting(
        None, "address of a Ray cluster, or auto; null: RAY_ADDRESS, else none", effect=NO_EFFECT
    )
    gpus_per_node: Optional[int] = setting(
        None,
        "GPUs of a worker; 0: none, they stay hidden; null: as many as each node that serves has",
        AT_LEAST_0,
        NO_EFFECT,
    )
    cpus_per_node: Optional[int] = setting(
        None,
        "CPUs of a worker; null: as many as each node that serves has",
        AT_LEAST_1,
        NO_EFFECT,
    )
    wait_for_nodes: float = setting(
        0.0, "seconds to wait for a cluster that is starting", AT_LEAST_0, NO_EFFECT
    )
    min_nodes: Optional[int] = setting(
        None,
        "nodes that fit which a cluster must have before its resources are shared out, as others "
        "may still join; null: as many as are needed",
        AT_LEAST_1,
        NO_EFFECT,
        newer=True,
    )
    max_failures: int = setting(
        3, "lost workers after which a run is given up", AT_LEAST_0, NO_EFFECT
    )
    elastic: bool = setting(
        False,
        "continue with fewer workers, at the same global batch, when a node is lost",
        effect=NO_EFFECT,
    )
    hang_timeout: float = setting(
        60.0,
        "seconds without an answer after which a worker counts as lost",
        at_least(5, " seconds"),
        NO_EFFECT,
    )
    step_timeout: float = setting(
        600.0,
        "seconds without a step after which workers that answer count as stuck; six times that, "
        "and half an hour at least, for the first step, a validated case or saving; 0: never",
        AT_LEAST_0,
        NO_EFFECT,
        newer=True,
    )
    stop_timeout: float = setting(
        120.0,
        "seconds without progress after a request to stop until workers are ended by force",
        at_least(5, " seconds"),
        NO_EFFECT,
        newer=True,
    )
    lr_scaling: str = setting(
        "none", "how lr grows with the number of replicas", one_of("none", "linear", "sqrt")
    )
    warmup_epochs: float = setting(
        1.0, "warm-up of a scaled lr, unless its schedule has one", AT_LEAST_0
    )
    communication: str = setting(
        "auto",
        "how nodes exchange gradients; auto: NCCL between GPUs, the ring between CPUs",
        one_of("auto", "ring", "nccl"),
        NO_EFFECT,
    )
    collective_timeout: float = setting(
        0.0,
        "seconds after which TensorFlow ends an exchange between nodes with an error, which costs "
        "a sleeping thread for each; 0: never, as step_timeout ends what is stuck",
        AT_LEAST_0,
        NO_EFFECT,
        newer=True,
    )
    interface: Optional[str] = setting(
        None,
        "network interface for gradients, such as ib0; null: the one of Ray's address",
        NAME,
        NO_EFFECT,
    )
    ports: Optional[list[int]] = setting(
        None,
        "range of ports for gradients, [first,last], such as a firewall lets through; null: any",
        PORTS,
        NO_EFFECT,
    )
    pack_mb: float = setting(
        0.0,
        "MB of gradients sent at once; 0: an eighth of them, 25 at most, and less for the first "
        "layers, which are ready last",
        AT_LEAST_0,
        NO_EFFECT,
    )
    compression: str = setting(
        "none", "type of gradients sent between replicas; bfloat16: not over NCCL", COMPRESSION
    )
    baseline: Optional[str] = setting(
        None, "id of a run on one replica, for perf/scaling_efficiency", RUN_ID, NO_EFFECT
    )
    gpus_per_trial: Optional[float] = setting(
        None,
        "GPUs of a sweep's trial; below 1: that share of one and of its memory; "
        "null: 1 if there are GPUs",
        GPUS,
        NO_EFFECT,
    )
    cpus_per_trial: Optional[int] = setting(
        None,
        "CPUs of a sweep's trial; null: its GPU's share, or 1",
        AT_LEAST_1,
        NO_EFFECT,
    )
    trials_at_once: Optional[int] = setting(
        None, "trials of a sweep at the same time; null: as many as fit", AT_LEAST_1, NO_EFFECT
    )
