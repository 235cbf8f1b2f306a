"""The memory that a training step of one replica may take."""

from __future__ import annotations

from dataclasses import dataclass

from unet3d import machine
from unet3d.config.schema import Config
from unet3d.distributed.gpus import gpu_share
from unet3d.distributed.worker import WorkerContext
from unet3d.errors import ConfigError

GPU_SHARE = 0.75  # of a GPU: what the estimate misses, cuDNN's workspace, the driver
RAM_SHARE = 0.5  # of a machine: the store's page cache and batches made ahead need the rest
GB = 1e9


@dataclass(frozen=True)
class Memory:
    """Bytes for one replica. origin: what they are a share of, for messages."""

    bytes: float
    origin: str


def replica_memory(config: Config, worker: WorkerContext, replicas: int) -> Memory:
    """What one replica of this process may take. replicas: of this process.

    data.patch_memory where it is set; else GPU_SHARE of the smallest GPU, or of a trial's part of
    it; without GPUs RAM_SHARE of the memory that belongs to this process' cores, divided among its
    replicas. Free memory is not considered, so the same machine always gives the same answer.

    Raises ConfigError where TensorFlow has a GPU whose size the driver does not report.
    """
    if config.data.patch_memory is not None:
        return Memory(config.data.patch_memory * GB, "data.patch_memory")
    if opened := machine.opened_gpus():
        sizes = machine.gpu_sizes()[: len(opened)]
        if not sizes:
            raise ConfigError(
                "data.patch: auto cannot read the memory of the GPU; type data.patch_memory=<GB>"
            )
        share, size = gpu_share(config), f"a GPU of {min(sizes) / GB:.1f} GB"
        origin = f"{GPU_SHARE:.0%} of {size if share == 1 else f'a share of {share:g} of {size}'}"
        return Memory(min(sizes) * share * GPU_SHARE, origin)
    own = min(1.0, (worker.threads or machine.cores()) / machine.cores())
    total = machine.machine_memory()
    whose = "the machine's" if own == 1 and replicas == 1 else "a replica's share of the machine's"
    return Memory(
        total * RAM_SHARE * own / replicas, f"{RAM_SHARE:.0%} of {whose} {total / GB:.1f} GB"
    )
