"""GPUs that a process was granted: whether TensorFlow can use them, and which it opens."""

from __future__ import annotations

import ctypes
import importlib.util
import logging
import os
import re
import socket
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib.metadata import version
from typing import Any

from unet3d import machine
from unet3d.config.schema import Config
from unet3d.errors import ConfigError, RunError
from unet3d.logs import quiet_start

log = logging.getLogger(__name__)
VISIBLE = "CUDA_VISIBLE_DEVICES"
ONE_GPU = re.compile(r"\d+|(GPU|MIG)-\S+")  # in VISIBLE; CUDA ignores what follows another word
SLURM = ("SLURM_STEP_GPUS", "SLURM_JOB_GPUS", "SLURM_GPUS_ON_NODE")
LIMIT_SHARE = 0.9  # of a trial's part of a GPU: CUDA's context and libraries need the rest
NATIVE, COMPILED, NONE = "native", "compiled", "none"  # where a GPU's kernels come from


@dataclass(frozen=True)
class Grant:
    """GPUs of this node that somebody has given to this process. source: by which words."""

    count: int
    source: str


def granted_gpus(variables: Mapping[str, str] = os.environ) -> Grant | None:
    """What Ray, Slurm or the user has granted; None where nobody has, or has taken all away."""
    visible = variables.get(VISIBLE)
    if visible is not None:  # Ray and Slurm set it too
        count = 0
        for entry in visible.split(","):
            if not ONE_GPU.fullmatch(entry.strip()):
                break
            count += 1
        return Grant(count, f"{VISIBLE}={visible}") if count else None
    for name in SLURM:
        value = variables.get(name, "")
        count = _counted(value) if name.endswith(("_STEP_GPUS", "_JOB_GPUS")) else _whole(value)
        if count:
            return Grant(count, f"{name}={value}")
    return None


def _counted(indices: str) -> int:
    """How many GPUs are in Slurm's list, such as 0,2-3."""
    count = 0
    for part in indices.split(","):
        first, _, last = part.strip().partition("-")
        count += _whole(last or first) - _whole(first) + 1 if first.isdecimal() else 0
    return count


def _whole(text: str) -> int:
    return int(text) if text.isdecimal() else 0


def use_no_gpus() -> None:
    """Hide all GPUs from this process; before TensorFlow looks for them."""
    os.environ[VISIBLE] = ""


def check_no_gpus(setting: str) -> None:
    """`use_no_gpus` in a worker to which Ray gives none; setting: which would have asked for that.

    Raises RunError where the node was granted some, which Ray does not count.
    """
    grant = granted_gpus()
    if grant is not None:
        raise RunError(
            f"parallel: node {socket.gethostname()} was granted {_gpus(grant.count)} "
            f"({grant.source}), and Ray counts none there; start Ray with "
            f"--num-gpus={grant.count}, or type {setting}=0 to train on the CPU"
        )
    use_no_gpus()


def check_gpus(config: Config) -> None:
    """See, before any work, that TensorFlow can use the GPUs of this process.

    Imports TensorFlow only where there is an NVIDIA GPU, or one was granted. Raises RunError, with
    node, reason and fix, where fewer can be used than were granted; warns where the machine has
    some that nobody granted and TensorFlow has none.
    """
    if gpus_are_off(config):
        use_no_gpus()
        return
    grant = granted_gpus()
    if grant is None and (VISIBLE in os.environ or not machine.nvidia_cards()):
        return
    with quiet_start():
        found = len(machine.tensorflow_gpus())
    if found >= (grant.count if grant else 1):
        return
    reason, fix = gpu_problem(found)
    node, off = socket.gethostname(), f"{_off_setting(config)}=0"
    if grant is None:
        log.warning(
            "parallel: node %s has an NVIDIA GPU, and the run trains on the CPU: %s; %s, or type "
            "%s, which says that this is meant",
            *(node, reason, fix, off),
        )
        return
    raise RunError(
        f"parallel: node {node} was granted {_gpus(grant.count)} ({grant.source}), and TensorFlow "
        f"can use {found or 'none'}: {reason}; {fix}, or type {off} to train on the CPU"
    )


def gpus_are_off(config: Config) -> bool:
    """Whether the settings say that there shall be no GPU."""
    return config.parallel.gpus_per_node == 0 or (
        _may_be_trial(config) and config.parallel.gpus_per_trial == 0
    )


def _may_be_trial(config: Config) -> bool:
    """Whether parallel.gpus_per_trial is for this process: it trains a trial, or could."""
    return config.parallel.name != "none" and config.nodes == 1


def _off_setting(config: Config) -> str:
    trial = config.parallel.name == "experiment"
    return "parallel.gpus_per_trial" if trial else "parallel.gpus_per_node"


def _gpus(count: int) -> str:
    return "a GPU" if count == 1 else f"{count} GPUs"


def gpu_problem(found: int = 0) -> tuple[str, str]:
    """Why TensorFlow can use no more than `found` of the GPUs here, and what to do about it."""
    driver, build = machine.cuda_driver(), machine.tensorflow_build()
    if driver.problem:
        return (
            driver.problem,
            "start the run where `nvidia-smi` shows the GPU (in a container: "
            + ("docker --gpus all, apptainer --nv)"),
        )
    if len(driver.gpus) <= found:
        shown = _gpus(len(driver.gpus)) if driver.gpus else "no GPU"
        return f"the NVIDIA driver shows {shown}", f"see `nvidia-smi` and {VISIBLE}"
    tensorflow = f"TensorFlow {version('tensorflow')}"
    if not build.get("is_cuda_build"):
        return f"{tensorflow} is built without CUDA", "pip install -e '.[gpu]' has one with CUDA"
    cuda = version_numbers(build.get("cuda_version", ""))
    if driver.cuda[0] < cuda[0]:
        return (
            f"the NVIDIA driver serves CUDA {dotted(driver.cuda)} at most, and {tensorflow} needs "
            f"{dotted(cuda)}",
            "install a newer driver",
        )
    built = build.get("cuda_compute_capabilities", ())
    unsupported = [g.capability for g in driver.gpus if kernels(g.capability, built) == NONE]
    if unsupported:
        return (
            f"{tensorflow} has no kernels for compute capability {dotted(unsupported[0])} (it has "
            f"{', '.join(built)})",
            "use another GPU, or a TensorFlow that is built for this one",
        )
    if not _has_library("cudnn", build.get("cudnn_version", "")):
        return "cuDNN and other libraries are missing", "pip install -e '.[gpu]' installs them"
    return "TensorFlow does not open it", "TF_CPP_MIN_LOG_LEVEL=0 `unet3d doctor` shows why"


def _has_library(name: str, release: str) -> bool:
    """Whether NVIDIA's library is there, from a wheel or of the system."""
    try:
        if importlib.util.find_spec(f"nvidia.{name}") is not None:
            return True
    except ModuleNotFoundError:
        pass
    try:
        ctypes.CDLL(f"lib{name}.so.{release}" if release else f"lib{name}.so")
    except OSError:
        return False
    return True


def kernels(capability: tuple[int, int], built: Sequence[str]) -> str:
    """Where the kernels of a GPU come from in a TensorFlow built for sm_80, compute_90 and such.

    NATIVE: sm_80 is machine code for 8.0 and later 8.x, and so is compute_80 in TensorFlow's
    builds. COMPILED: compute_90 is PTX too, of which the driver makes machine code for later ones.
    NONE: there is neither.
    """
    best = NONE
    for name in built:
        kind, _, digits = name.partition("_")
        major, minor = int(digits[:-1] or 0), int(digits[-1:] or 0)
        if major == capability[0] and minor <= capability[1]:
            return NATIVE
        if kind == "compute" and (major, minor) <= capability:
            best = COMPILED
    return best


def version_numbers(text: str) -> tuple[int, int]:
    """(12, 5) of "12.5.1"."""
    major, _, rest = text.partition(".")
    return _whole(major), _whole(rest.partition(".")[0])


def dotted(numbers: tuple[int, int]) -> str:
    """ "9.0" of (9, 0)."""
    return f"{numbers[0]}.{numbers[1]}"


def open_own_gpus(config: Config, workers: int) -> list[Any]:
    """Open the GPUs that a worker of `workers` computes on; returns them.

    One for a run on one replica, or parallel.devices; in a worker on Ray all that it was given. Of
    a GPU that trials share, only the trial's part of its memory. Raises ConfigError where its size
    is not known.
    """
    found, share = machine.tensorflow_gpus(), gpu_share(config)
    most = _most(config, workers)
    gpus = found[:most]
    if len(gpus) < len(found):
        log.info(
            "parallel: the run uses %d of %d GPUs%s",
            len(gpus),
            len(found),
            "; parallel=data uses all of them" if config.parallel.name != "data" else "",
        )
    machine.open_gpus(gpus, None if share == 1 else share * _size(found) * LIMIT_SHARE)
    return gpus


def _most(config: Config, workers: int) -> int | None:
    """How many GPUs a worker opens at most; None: all."""
    if config.parallel.name != "data":
        return 1
    if workers == 1 and config.parallel.devices:
        return config.parallel.devices
    return config.parallel.gpus_per_node


def gpu_share(config: Config) -> float:
    """The part of a GPU that belongs to a trial; 1 for a whole one, or for a run alone."""
    return min(1.0, config.parallel.gpus_per_trial or 1.0) if _may_be_trial(config) else 1.0


def _size(gpus: Sequence[Any]) -> int:
    """Bytes of the first GPU."""
    sizes = machine.gpu_sizes()
    if gpus and not sizes:
        raise ConfigError(
            "parallel.gpus_per_trial: the driver does not tell the memory of the GPU, of which a "
            "trial gets a part; type parallel.gpus_per_trial=1"
        )
    return sizes[0] if sizes else 0
