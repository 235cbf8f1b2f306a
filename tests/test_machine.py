"""What this process may use of its machine, and which others live there."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import psutil
import pytest

from unet3d import machine


def test_cores_follow_a_cpuset() -> None:
    """A job or a container that may use one core has one, whatever the machine has."""
    before = os.sched_getaffinity(0)
    try:
        os.sched_setaffinity(0, {min(before)})
        assert machine.cores() == 1
    finally:
        os.sched_setaffinity(0, before)
    assert machine.cores() == len(before)


@pytest.mark.parametrize(
    ("info", "computes"),
    [
        ("processor : 0\nflags : fpu sse2 avx2 fma\n", False),
        ("processor : 0\nflags : fpu sse2 avx2 fma avx512f avx512bw\n", True),
        ("processor : 0\nFeatures : fp asimd bf16\n", True),
        ("a system that says nothing\n", True),
    ],
)
def test_which_cpus_compute_bfloat16(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, info: str, computes: bool
) -> None:
    """An x86 CPU needs AVX-512 for it; of others nothing bad is claimed."""
    monkeypatch.setattr(machine, "CPU_INFO", tmp_path / "cpuinfo")
    assert machine.computes_bfloat16()  # there is no such file
    (tmp_path / "cpuinfo").write_text(info)
    assert machine.computes_bfloat16() is computes


@pytest.mark.parametrize(("before", "uses"), [(None, "True"), ("0", "False")])
def test_tensorflow_uses_onednn_on_every_cpu(before: str | None, uses: str) -> None:
    """Left to itself TensorFlow does so only where there is AVX-512; a user's own word counts."""
    environment = {k: v for k, v in os.environ.items() if k != "TF_ENABLE_ONEDNN_OPTS"}
    if before is not None:
        environment["TF_ENABLE_ONEDNN_OPTS"] = before
    ask = (
        "import unet3d.models\nfrom tensorflow.python.util import _pywrap_util_port\n"
        "print(_pywrap_util_port.IsMklEnabled())"
    )
    said = subprocess.run(
        [sys.executable, "-c", ask], env=environment, capture_output=True, text=True, check=True
    )
    assert said.stdout.split()[-1] == uses


def test_memory_is_the_lowest_limit_of_the_control_groups(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A limit above the RAM does not count, nor does "max" or a group without a limit."""
    monkeypatch.setattr(machine, "CGROUPS", tmp_path)
    total = float(psutil.virtual_memory().total)
    assert machine.machine_memory() == total
    (tmp_path / "memory.max").write_text("max\n")
    assert machine.machine_memory() == total
    (tmp_path / "memory.max").write_text(f"{2 * total:.0f}\n")
    assert machine.machine_memory() == total
    (tmp_path / "memory.max").write_text("4096\n")
    assert machine.machine_memory() == 4096


def test_without_a_driver_there_are_no_gpus(monkeypatch: pytest.MonkeyPatch) -> None:
    """A machine without CUDA is no error."""

    def missing(name: str) -> None:
        raise OSError(f"{name}: cannot open shared object file")

    monkeypatch.setattr("ctypes.CDLL", missing)
    assert machine.gpu_sizes() == []


class Cuda:
    """libcuda.so.1 of a driver for CUDA 12.8 with an H100, or one whose cuInit answers `code`."""

    def __init__(self, code: int = 0):
        self.code = code

    def cuInit(self, flags: int) -> int:
        return self.code

    def cuGetErrorName(self, code: int, name: Any) -> int:
        name._obj.value = {100: b"CUDA_ERROR_NO_DEVICE"}[code]
        return 0

    def cuDeviceGetName(self, name: Any, size: int, device: int) -> int:
        name.value = b"NVIDIA H100 80GB HBM3"
        return 0

    def __getattr__(self, function: str) -> Any:
        attributes = {75: 9, 76: 0}  # of the compute capability

        def answer(value: Any, *arguments: int) -> int:
            value._obj.value = {
                "cuDriverGetVersion": 12080,
                "cuDeviceGetCount": 1,
                "cuDeviceGet": 0,
                "cuDeviceTotalMem_v2": 80 * 2**30,
                "cuDeviceGetAttribute": attributes.get(arguments[0] if arguments else 0),
            }[function]
            return 0

        return answer


def test_what_the_driver_tells_of_its_gpus(monkeypatch: pytest.MonkeyPatch) -> None:
    """Names, sizes beyond 32 bits, the capability in two numbers; an error by its name."""
    monkeypatch.setattr("ctypes.CDLL", lambda name: Cuda())
    driver, name = machine.cuda_driver(), "NVIDIA H100 80GB HBM3"
    assert driver == machine.Driver((machine.Gpu(80 * 2**30, (9, 0), name),), (12, 8))
    assert machine.gpu_names() == [name]
    assert machine.gpu_sizes() == [80 * 2**30]
    monkeypatch.setattr("ctypes.CDLL", lambda name: Cuda(100))
    assert machine.cuda_driver().problem == "the NVIDIA driver answers CUDA_ERROR_NO_DEVICE"


def test_cards_are_found_without_a_driver(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """NVIDIA's graphics and compute cards, not its sound or network ones, nor others' graphics."""
    monkeypatch.setattr(machine, "PCI", tmp_path)
    assert machine.nvidia_cards() == 0
    for name, (vendor, kind) in {
        "graphics": ("0x10de", "0x030000"),
        "compute": ("0x10de", "0x030200"),
        "sound": ("0x10de", "0x040300"),
        "other": ("0x1002", "0x030000"),
    }.items():
        (tmp_path / name).mkdir()
        (tmp_path / name / "vendor").write_text(f"{vendor}\n")
        (tmp_path / name / "class").write_text(f"{kind}\n")
    (tmp_path / "unreadable").mkdir()
    assert machine.nvidia_cards() == 2


def test_which_processes_live() -> None:
    """By id or as psutil's; not one that has ended, whether or not its parent has asked for it."""
    child = subprocess.Popen(["sleep", "100"])
    process = psutil.Process(child.pid)
    assert machine.lives(child.pid) and machine.lives(process) and machine.lives(os.getpid())
    child.kill()
    os.waitid(os.P_PID, child.pid, os.WEXITED | os.WNOWAIT)  # it stays a zombie
    assert not machine.lives(child.pid) and not machine.lives(process)
    child.wait()
    assert not machine.lives(child.pid) and not machine.lives(process)


POOL = """
import os, time
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from unet3d.machine import end_with_parent
if __name__ == "__main__":
    pool = ProcessPoolExecutor(1, get_context("spawn"), end_with_parent)
    print(pool.submit(os.getpid).result(), flush=True)
    time.sleep(600)
"""


def test_a_pool_ends_with_a_killed_parent(tmp_path: Path) -> None:
    """Nothing could end it afterwards: it would wait for work for ever."""
    script = tmp_path / "pool.py"
    script.write_text(POOL)
    with subprocess.Popen([sys.executable, str(script)], stdout=subprocess.PIPE, text=True) as one:
        assert one.stdout is not None
        process = psutil.Process(int(one.stdout.readline()))
        one.kill()
    assert not psutil.wait_procs([process], timeout=20)[1]
