"""This machine: cores, memory and GPUs that this process may use, and which processes live."""

from __future__ import annotations

import contextlib
import gc
import os
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import psutil

CGROUPS = Path("/sys/fs/cgroup")  # where Linux keeps the limits of containers and Slurm jobs
CPU_INFO = Path("/proc/cpuinfo")
PCI = Path("/sys/bus/pci/devices")
NVIDIA, DISPLAY = "0x10de", "0x03"  # vendor, and beginning of a class, in PCI's words
NVIDIA_VERSION = Path("/sys/module/nvidia/version")


def collect_rarely() -> None:
    """Have Python look for unreachable cycles less often in this process.

    By default it looks through all that imports have made again and again: an eighth of the CPU
    time of a short run, and of the start of each trial.
    """
    gc.set_threshold(20_000, 20, 20)


def end_with_parent() -> None:
    """In a process of multiprocessing: end once the one that started it has, even by kill -9.

    A pool's process would wait for work for ever: it holds both ends of the pipe that it reads.
    """
    import multiprocessing
    import threading

    parent = multiprocessing.parent_process()
    assert parent is not None

    def wait() -> None:
        parent.join()
        os._exit(1)

    threading.Thread(target=wait, daemon=True).start()


def cores() -> int:
    """CPU cores that this process may use, which a cpuset or a job may limit."""
    return len(os.sched_getaffinity(0))


def cpu_features() -> frozenset[str]:
    """Instruction sets of this machine's CPUs, as Linux names them; empty where it does not say."""
    with contextlib.suppress(OSError):
        for line in CPU_INFO.read_text().splitlines():
            name, _, value = line.partition(":")
            if name.strip() in ("flags", "Features"):  # x86, ARM
                return frozenset(value.split())
    return frozenset()


def computes_bfloat16() -> bool:
    """Whether oneDNN has bfloat16 convolutions for this CPU; an x86 one needs AVX-512 for them.

    True where the system does not say. Without them a step takes ten times as long or more.
    """
    features = cpu_features()
    return not features or "avx512f" in features or "sse2" not in features


def machine_memory() -> float:
    """Bytes of RAM, or the limit of this container or job where that is lower."""
    import psutil

    return min(float(psutil.virtual_memory().total), *_limits())


def oom_kills() -> int | None:
    """How many processes the kernel has killed for want of memory, where this one lives.

    Of its control group, of which the kernel counts since that began; of the machine where there
    is none. None where it cannot be read.
    """
    for path in (
        *_groups("0::", CGROUPS, "memory.events"),
        *_groups("memory:", CGROUPS / "memory", "memory.oom_control"),
        Path("/proc/vmstat"),
    ):
        with contextlib.suppress(OSError, ValueError):
            counts = dict(line.split()[:2] for line in path.read_text().splitlines())
            if "oom_kill" in counts:
                return int(counts["oom_kill"])
    return None


class OomWatch:
    """Whether the kernel has killed a process for want of memory since the last look."""

    def __init__(self) -> None:
        self.seen = oom_kills()

    def new(self) -> bool:
        """Also takes a look; False where it cannot be known."""
        before, self.seen = self.seen, oom_kills()
        return before is not None and self.seen is not None and self.seen > before


def _groups(kind: str, root: Path, name: str) -> list[Path]:
    """A file of this process' control group of a kind and of its parents, up to `root`."""
    try:
        lines = Path("/proc/self/cgroup").read_text().splitlines()
    except OSError:
        return []
    own = next((line.partition(kind)[2] for line in lines if kind in line), "").strip("/")
    group = root / own
    return [parent / name for parent in (group, *group.parents) if parent.is_relative_to(root)]


def _limits() -> list[float]:
    """The memory limits of this process' control group and its parents (cgroups v2)."""
    try:
        own = Path("/proc/self/cgroup").read_text().partition("0::/")[2].split("\n")[0]
    except OSError:
        own = ""
    limits = [float("inf")]
    for group in (CGROUPS / own, *(CGROUPS / own).parents):
        try:
            limits.append(float((group / "memory.max").read_text()))
        except (OSError, ValueError):  # no such file, or "max": no limit
            continue
    return limits


def lives(process: int | psutil.Process) -> bool:
    """Whether a process of this machine, or its id, runs; one that we may not look at does.

    One that has ended and that its parent has not yet heard of does not.
    """
    import psutil

    try:
        one = psutil.Process(process) if isinstance(process, int) else process
        return one.status() not in (psutil.STATUS_ZOMBIE, psutil.STATUS_DEAD)
    except psutil.AccessDenied:
        return True
    except psutil.Error:
        return False


GPU_NAME_BYTES = 128


@dataclass(frozen=True)
class Gpu:
    """A GPU that the driver shows to this process. capability: (9, 0) for an H100.

    name: as its maker calls it; "" where the driver does not say.
    """

    bytes: int
    capability: tuple[int, int]
    name: str = ""


@dataclass(frozen=True)
class Driver:
    """CUDA's driver. cuda: the newest version it serves, as (13, 0); problem: "" where it works."""

    gpus: tuple[Gpu, ...] = ()
    cuda: tuple[int, int] = (0, 0)
    problem: str = ""


def cuda_driver() -> Driver:
    """What the driver shows to this process.

    Asked itself, as NVML ignores CUDA_VISIBLE_DEVICES and TensorFlow reports no size. No context is
    created, so it costs no memory.
    """
    import ctypes

    try:
        cuda = ctypes.CDLL("libcuda.so.1")
    except OSError:
        return Driver(problem="there is no NVIDIA driver (libcuda.so.1)")

    def number(ask: Any, *arguments: Any, kind: Any = ctypes.c_int) -> int:
        """What a function of the driver writes to its first argument."""
        value = kind(0)
        if code := ask(ctypes.byref(value), *arguments):
            raise OSError(code)
        return int(value.value)

    try:
        if code := cuda.cuInit(0):
            raise OSError(code)
        version = number(cuda.cuDriverGetVersion)
        gpus = []
        for index in range(number(cuda.cuDeviceGetCount)):
            device = number(cuda.cuDeviceGet, index)
            # The attributes are CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MAJOR and _MINOR.
            major, minor = (number(cuda.cuDeviceGetAttribute, what, device) for what in (75, 76))
            size = number(cuda.cuDeviceTotalMem_v2, device, kind=ctypes.c_size_t)
            text = ctypes.create_string_buffer(GPU_NAME_BYTES)
            cuda.cuDeviceGetName(text, GPU_NAME_BYTES, device)
            gpus.append(Gpu(size, (major, minor), text.value.decode(errors="replace")))
    except OSError as error:
        name = ctypes.c_char_p()
        cuda.cuGetErrorName(int(error.args[0]), ctypes.byref(name))
        return Driver(problem=f"the NVIDIA driver answers {(name.value or b'an error').decode()}")
    return Driver(tuple(gpus), (version // 1000, version % 1000 // 10))


def gpu_names() -> list[str]:
    """Of each GPU that this process may use, as its maker calls it."""
    return [gpu.name for gpu in cuda_driver().gpus]


def gpu_sizes() -> list[int]:
    """Bytes of each GPU that this process may use; [] where CUDA's driver is missing."""
    return [gpu.bytes for gpu in cuda_driver().gpus]


def nvidia_cards() -> int:
    """GPUs by NVIDIA in this machine, whether or not there is a driver for them."""
    count = 0
    for card in PCI.glob("*"):
        with contextlib.suppress(OSError):
            vendor, kind = ((card / name).read_text().strip() for name in ("vendor", "class"))
            count += vendor == NVIDIA and kind.startswith(DISPLAY)
    return count


def driver_version() -> str:
    """The release of NVIDIA's kernel driver, such as 550.54.15; "" where there is none."""
    try:
        return NVIDIA_VERSION.read_text().strip()
    except OSError:
        return ""


# All that TensorFlow says of GPUs, so that it can be replaced where there are none.


def tensorflow_gpus() -> list[Any]:
    """The GPUs that TensorFlow can use, as physical devices, whether or not they are opened."""
    import tensorflow as tf

    return list(tf.config.list_physical_devices("GPU"))


def opened_gpus() -> list[Any]:
    """Those of them that this process opens, or has opened."""
    import tensorflow as tf

    return list(tf.config.get_visible_devices("GPU"))


def open_gpus(gpus: list[Any], limit: float | None = None) -> None:
    """Have TensorFlow use these GPUs alone, before any tensor; again with the same does nothing.

    limit: bytes of each, taken at once; None: as much as is needed.
    """
    import tensorflow as tf

    tf.config.set_visible_devices(gpus, "GPU")
    for gpu in gpus:
        if limit is None:
            tf.config.experimental.set_memory_growth(gpu, True)
        else:
            part = tf.config.LogicalDeviceConfiguration(memory_limit=int(limit / 2**20))
            tf.config.set_logical_device_configuration(gpu, [part])


def gpu_name(gpu: Any) -> str:
    """The product's name."""
    import tensorflow as tf

    return str(tf.config.experimental.get_device_details(gpu).get("device_name", "GPU"))


def gpu_memory_in_use() -> int:
    """Bytes of tensors that this process keeps on its GPUs."""
    import tensorflow as tf

    return sum(tf.config.experimental.get_memory_info(name)["current"] for name in _gpu_names())


def gpu_peak() -> int:
    """The most bytes of tensors that this process has kept on one of its GPUs."""
    import tensorflow as tf

    return max(tf.config.experimental.get_memory_info(name)["peak"] for name in _gpu_names())


def reset_gpu_peaks() -> None:
    """Let `gpu_peak` count from now on."""
    import tensorflow as tf

    for name in _gpu_names():
        tf.config.experimental.reset_memory_stats(name)


def _gpu_names() -> list[str]:
    import tensorflow as tf

    return [gpu.name.rpartition("device:")[2] for gpu in tf.config.list_logical_devices("GPU")]


def tensorflow_build() -> dict[str, Any]:
    """What TensorFlow was built for: cuda_version, cudnn_version, cuda_compute_capabilities."""
    import tensorflow as tf

    return dict(tf.sysconfig.get_build_info())
