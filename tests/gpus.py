"""GPUs for tests on machines without any: the one place where TensorFlow's and CUDA's are replaced.

For another process, such as a worker of Ray: `pretending(folder)`, variables of its environment.
"""

from __future__ import annotations

import os
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from tests import REPOSITORY
from unet3d import machine

BUILD = {
    "is_cuda_build": True,
    "cuda_version": "12.5.1",
    "cudnn_version": "9",
    "cuda_compute_capabilities": ["sm_60", "sm_80", "sm_89", "compute_90"],
}


@dataclass
class PretendedGpus:
    """What `unet3d.machine` shall find. opened: what was opened so far, with the memory limit."""

    usable: int = 0  # by TensorFlow
    driver: machine.Driver = field(default_factory=machine.Driver)
    cards: int = 0
    build: dict[str, Any] = field(default_factory=lambda: dict(BUILD))
    opened: list[tuple[int, float | None]] = field(default_factory=list)
    in_use: int = 0

    def put_in_place(self, monkeypatch: pytest.MonkeyPatch) -> PretendedGpus:
        """Have `unet3d.machine` say so."""
        found = [f"GPU:{index}" for index in range(self.usable)]

        def open_gpus(gpus: list[str], limit: float | None = None) -> None:
            self.opened.append((len(gpus), limit))

        for name, value in {
            "tensorflow_gpus": lambda: list(found),
            "opened_gpus": lambda: found[: self.opened[-1][0]] if self.opened else list(found),
            "open_gpus": open_gpus,
            "gpu_name": lambda gpu: f"NVIDIA {gpu}",
            "gpu_memory_in_use": lambda: self.in_use,
            "tensorflow_build": lambda: self.build,
            "cuda_driver": lambda: self.driver,
            "nvidia_cards": lambda: self.cards,
            "driver_version": lambda: "550.54.15" if self.driver.gpus else "",
        }.items():
            monkeypatch.setattr(machine, name, value)
        return self


def driver_of(*gpus: tuple[float, tuple[int, int]], cuda: tuple[int, int] = (12, 8)) -> Any:
    """A driver of GPUs of so many GB and these compute capabilities."""
    return machine.Driver(tuple(machine.Gpu(int(gb * 1e9), one) for gb, one in gpus), cuda)


# In a worker TensorFlow's view follows CUDA_VISIBLE_DEVICES, and what is opened is written down.
OF_A_WORKER = """
import os
import unet3d.machine as machine
def found():
    return [f"GPU:{n}" for n in os.environ.get("CUDA_VISIBLE_DEVICES", "0,1,2,3").split(",") if n]
def open_gpus(gpus, limit=None):
    with open(os.environ["PRETENDED_GPUS"], "a") as file:
        file.write(f"{os.environ.get('CUDA_VISIBLE_DEVICES')} {len(gpus)} {limit}\\n")
machine.tensorflow_gpus, machine.open_gpus = found, open_gpus
machine.cuda_driver = lambda: machine.Driver((machine.Gpu(10**10, (8, 0)),) * 4, (12, 8))
machine.gpu_name = str
machine.gpu_memory_in_use = lambda: 0
"""


def pretending(folder: Path) -> dict[str, str]:
    """Environment variables with which a process and its workers find four GPUs of 10 GB.

    They write what they open to `folder`/opened: CUDA_VISIBLE_DEVICES, how many, limit of memory.
    They compute on the CPU.
    """
    (folder / "sitecustomize.py").write_text(OF_A_WORKER)
    path = os.pathsep.join([str(folder), str(REPOSITORY), os.environ.get("PYTHONPATH", "")])
    return {"PYTHONPATH": path, "PRETENDED_GPUS": str(folder / "opened")}
