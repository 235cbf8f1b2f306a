"""The energy that a training takes, where its machine counts it: perf/energy_kwh.

Of NVIDIA's GPUs by NVML, where nvidia-ml-py is installed; of processors by RAPL, whose files Linux
shows to root alone unless an administrator lets others read them.
"""

from __future__ import annotations

import logging
import os
import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from unet3d import machine

log = logging.getLogger(__name__)
POWERCAP = Path("/sys/class/powercap")
JOULES = 3.6e6  # of a kWh
INTERVAL = 60.0  # seconds; a counter of RAPL begins again after 40 minutes and more
_said: set[str] = set()  # once a process


@dataclass
class Counter:
    """A counter of joules that may begin again. span: at which it does; 0 for never.

    share: of what it counts that belongs to this training.
    """

    read: Callable[[], float]
    span: float = 0.0
    share: float = 1.0
    last: float = 0.0

    def spent(self) -> float:
        """Joules of the training since the last call."""
        now = self.read()
        difference = now - self.last
        if difference < 0:  # begun again, or reset by a driver
            difference = difference + self.span if self.span else 0.0
        self.last = now
        return difference * self.share


class EnergyMeter:
    """Adds up counters from its start on, and looks often enough to miss no new beginning."""

    def __init__(self, counters: Sequence[Counter], before: float = 0.0):
        """before: kWh that earlier processes of the run have taken."""
        self.counters, self.joules = list(counters), before * JOULES
        self.lock, self.ended = threading.Lock(), threading.Event()
        for counter in self.counters:
            counter.last = counter.read()
        if self.counters:
            threading.Thread(target=self._watch, daemon=True, name="energy").start()

    def metrics(self) -> dict[str, float]:
        """perf/energy_kwh, of the run so far; {} where nothing counts it."""
        self._look()
        return {"perf/energy_kwh": self.joules / JOULES} if self.counters else {}

    def close(self) -> None:
        """Look no more."""
        self.ended.set()

    def _watch(self) -> None:
        while not self.ended.wait(INTERVAL):
            self._look()

    def _look(self) -> None:
        """A counter that cannot be read any more ends the measurement: a part is no figure."""
        with self.lock:
            try:
                self.joules += sum([counter.spent() for counter in self.counters])
            except (OSError, ValueError) as error:
                _say_once(f"energy: not recorded any more ({error})")
                self.counters = []


def energy_meter(threads: int | None, before: float = 0.0) -> EnergyMeter:
    """A meter of the GPUs that this process has opened, and of the processors.

    threads: of TensorFlow; the processors' energy counts by their share of all cores, as other
    trials may run beside. before: as of EnergyMeter.
    """
    share = min(1.0, (threads or machine.cores()) / (os.cpu_count() or 1))
    counters = [*rapl_counters(POWERCAP, share), *_gpu_counters()]
    if not counters:
        _say_once("energy: not recorded, as neither RAPL nor NVML can be read here")
    return EnergyMeter(counters, before)


def rapl_counters(folder: Path, share: float = 1.0) -> list[Counter]:
    """One for each processor package that `folder` has; none where any of them cannot be read.

    Parts of a package, such as its cores, are in the figure of the package.
    """
    counters = []
    for zone in sorted(folder.glob("*-rapl:*")):
        try:
            if zone.name.count(":") > 1 or not _text(zone / "name").startswith("package"):
                continue
            span = float(_text(zone / "max_energy_range_uj")) / 1e6
            counter = Counter(_microjoules(zone / "energy_uj"), span, share)
            counter.read()
        except (OSError, ValueError) as error:
            _say_once(f"energy: that of the processors cannot be read ({error})")
            return []
        counters.append(counter)
    return counters


def _text(path: Path) -> str:
    return path.read_text().strip()


def _microjoules(path: Path) -> Callable[[], float]:
    return lambda: float(_text(path)) / 1e6


def _gpu_counters() -> list[Counter]:
    """One for each GPU that this process has opened; none where NVML does not count for each."""
    opened = [int(gpu.name.rpartition(":")[2]) for gpu in machine.opened_gpus()]
    if not opened:
        return []
    try:
        import pynvml
    except ImportError:
        _say_once("energy: that of GPUs needs nvidia-ml-py; type pip install nvidia-ml-py")
        return []
    try:
        pynvml.nvmlInit()
        counters = [Counter(_millijoules(pynvml, _handle(pynvml, index))) for index in opened]
        for counter in counters:
            counter.read()
        return counters
    except (pynvml.NVMLError, OSError, ValueError) as error:
        _say_once(f"energy: that of GPUs cannot be read ({error})")
        return []


def _handle(nvml: Any, index: int) -> Any:
    """NVML's device of the `index`-th GPU that CUDA shows to this process."""
    visible = [one for one in os.environ.get("CUDA_VISIBLE_DEVICES", "").split(",") if one.strip()]
    name = visible[index].strip() if index < len(visible) else str(index)
    if name.isdigit():
        return nvml.nvmlDeviceGetHandleByIndex(int(name))
    return nvml.nvmlDeviceGetHandleByUUID(name)


def _millijoules(nvml: Any, handle: Any) -> Callable[[], float]:
    def read() -> float:
        try:
            return float(nvml.nvmlDeviceGetTotalEnergyConsumption(handle)) / 1e3
        except nvml.NVMLError as error:
            raise OSError(str(error)) from error

    return read


def _say_once(line: str) -> None:
    if line not in _said:
        _said.add(line)
        log.debug("%s", line)
