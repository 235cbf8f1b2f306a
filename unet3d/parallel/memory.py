"""The memory that a training step of one replica may take."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from unet3d.config import Config, ConfigError
from unet3d.parallel.place import Place, cores

GPU_SHARE = 0.8  # of a GPU: cuDNN's work space and the driver need the rest
RAM_SHARE = 0.5  # of a machine: the store's page cache and batches made ahead need the rest
CGROUPS = Path("/sys/fs/cgroup")  # where Linux keeps the limits of containers and SLURM's jobs
GB = 1e9


@dataclass(frozen=True)
class Memory:
    """bytes: for one replica. told: where they are, for the log."""

    bytes: float
    told: str


def replica_memory(config: Config, place: Place, replicas: int) -> Memory:
    """What one replica of this process may take. replicas: of this process.

    data.patch_memory where it is set; else GPU_SHARE of the smallest GPU, or of a trial's part of
    it; without GPUs RAM_SHARE of the memory that belongs to this process' cores, shared by its
    replicas. Free memory is not asked for: the same machine gives the same answer each time.

    Raises ConfigError where TensorFlow has a GPU whose size the driver does not tell.
    """
    if config.data.patch_memory is not None:
        return Memory(config.data.patch_memory * GB, "data.patch_memory")
    import tensorflow as tf

    if tf.config.list_physical_devices("GPU"):
        sizes = gpu_sizes()
        if not sizes:
            raise ConfigError(
                "data.patch: auto cannot tell the memory of the GPU; type data.patch_memory=<GB>"
            )
        trial = config.parallel.name == "experiment"
        part = min(1.0, config.parallel.gpus_per_trial or 1.0) if trial else 1.0
        return Memory(
            min(sizes) * part * GPU_SHARE, f"{GPU_SHARE:.0%} of a GPU of {min(sizes) / GB:.1f} GB"
        )
    own = min(1.0, (place.threads or cores()) / cores())
    total = machine_memory()
    whose = "the machine's" if own == 1 and replicas == 1 else "a replica's share of the machine's"
    return Memory(
        total * RAM_SHARE * own / replicas, f"{RAM_SHARE:.0%} of {whose} {total / GB:.1f} GB"
    )


def machine_memory() -> float:
    """Bytes of RAM, or of this container or job where that is limited to less."""
    import psutil

    return min(float(psutil.virtual_memory().total), *_limits())


def _limits() -> list[float]:
    """The memory limits of this process' control group and of those above it (cgroups v2)."""
    try:
        own = Path("/proc/self/cgroup").read_text().partition("0::/")[2].split("\n")[0]
    except OSError:
        own = ""
    limits = [float("inf")]
    for group in (CGROUPS / own, *(CGROUPS / own).parents):
        try:
            limits.append(float((group / "memory.max").read_text()))
        except (OSError, ValueError):  # not there, or "max"
            continue
    return limits


def gpu_sizes() -> list[int]:
    """Bytes of each GPU that this process may use; none where CUDA's driver is not there.

    From the driver itself, since NVML does not know CUDA_VISIBLE_DEVICES and TensorFlow tells no
    size. No context is made, so that it costs no memory.
    """
    import ctypes

    try:
        cuda = ctypes.CDLL("libcuda.so.1")
    except OSError:
        return []
    count = ctypes.c_int(0)
    if cuda.cuInit(0) or cuda.cuDeviceGetCount(ctypes.byref(count)):
        return []
    sizes = []
    for index in range(count.value):
        device, size = ctypes.c_int(0), ctypes.c_size_t(0)
        if cuda.cuDeviceGet(ctypes.byref(device), index):
            return []
        if cuda.cuDeviceTotalMem_v2(ctypes.byref(size), device):
            return []
        sizes.append(size.value)
    return sizes
