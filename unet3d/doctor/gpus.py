"""What `unet3d doctor` says of GPUs: theirs, the driver's and TensorFlow's side."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from importlib.metadata import version
from pathlib import Path

from unet3d import machine
from unet3d.distributed.gpus import (
    COMPILED,
    NATIVE,
    dotted,
    gpu_problem,
    granted_gpus,
    kernels,
    version_numbers,
)
from unet3d.logs import quiet_start
from unet3d.planning.memory import GB

CACHE_BYTES = "4294967296"  # 4 GiB, room for what TensorFlow compiles for one architecture


def gpu_rows() -> Iterator[tuple[str, str]]:
    """A row for each GPU and for what they need, with what keeps TensorFlow from using them."""
    with quiet_start():
        gpus = machine.tensorflow_gpus()
    driver, build = machine.cuda_driver(), machine.tensorflow_build()
    built = build.get("cuda_compute_capabilities", ())
    for number, gpu in enumerate(driver.gpus):
        name = machine.gpu_name(gpus[number]) if number < len(gpus) else "not used by TensorFlow"
        yield (
            f"GPU:{number}",
            f"{name}, {gpu.bytes / GB:.1f} GB, compute capability {dotted(gpu.capability)}",
        )
    grant = granted_gpus()
    if len(gpus) < max(len(driver.gpus), machine.nvidia_cards(), grant.count if grant else 0):
        reason, fix = gpu_problem(len(gpus))
        yield "GPUs", f"TensorFlow can use {len(gpus) or 'none'}: {reason}; {fix}"
    elif not gpus:
        yield "GPUs", "none by NVIDIA in this machine"
    if driver.gpus:
        release = machine.driver_version() or "of unknown version"
        yield "driver", f"{release}, serves CUDA up to {dotted(driver.cuda)}"
    cuda = build.get("cuda_version")
    on_what = f"CUDA {cuda}, cuDNN {build.get('cudnn_version')}" if cuda else "CPUs alone"
    yield "TensorFlow's", f"{version('tensorflow')} is built for {on_what}; {', '.join(built)}"
    for capability in sorted({gpu.capability for gpu in driver.gpus}):
        yield "kernels", _kernels(capability, built, driver.cuda, version_numbers(cuda or ""))


def _kernels(
    capability: tuple[int, int],
    built: Sequence[str],
    driver: tuple[int, int],
    cuda: tuple[int, int],
) -> str:
    """Whether a first start is slow, and where its work is kept."""
    kind = kernels(capability, built)
    if kind == NATIVE:
        return f"native for {dotted(capability)}"
    if kind != COMPILED:
        return f"none for {dotted(capability)}: this TensorFlow cannot use it"
    folder = os.environ.get("CUDA_CACHE_PATH") or str(Path.home() / ".nv" / "ComputeCache")
    kept = f"kept in {folder} (CUDA_CACHE_PATH)"
    if os.environ.get("CUDA_CACHE_DISABLE", "0") != "0":
        kept = "not kept, as CUDA_CACHE_DISABLE is set"
    old = "; the driver is older than they are and may refuse: install a newer one"
    return (
        f"compiled for {dotted(capability)} at the first start, which may take minutes; {kept}; "
        f"CUDA_CACHE_MAXSIZE={CACHE_BYTES} keeps all{old if driver < cuda else ''}"
    )
