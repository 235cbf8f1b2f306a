"""The most memory that a training takes, beside what was predicted: perf/..._memory_gb."""

from __future__ import annotations

import contextlib
from dataclasses import dataclass
from pathlib import Path

from unet3d import machine

GB = 1e9
STATUS, CLEAR = Path("/proc/self/status"), Path("/proc/self/clear_refs")
RESET_PEAK = "5"  # of the kernel's, since Linux 4.0


@dataclass
class PeakMemory:
    """Of this process, or of its fullest GPU. predicted: bytes of a step; 0 where not known."""

    predicted: float = 0.0
    before: float = 0.0  # bytes that the process had when its training began; without GPUs

    def begin(self) -> None:
        """Forget the peak of what ran before, of a former trial say."""
        if machine.opened_gpus():
            with contextlib.suppress(ValueError):  # of an allocator that keeps no count
                machine.reset_gpu_peaks()
            return
        with contextlib.suppress(OSError):  # a kernel or a container that does not let us
            CLEAR.write_text(RESET_PEAK)
        self.before = resident("VmRSS")

    def metrics(self) -> dict[str, float]:
        """perf/peak_memory_gb, and perf/predicted_memory_gb where the network can be counted.

        Without GPUs the peak is above what the process had before, and has the patches and the
        volumes of validation in it, too.
        """
        found = {}
        with contextlib.suppress(ValueError):
            gpus = machine.opened_gpus()
            peak = machine.gpu_peak() if gpus else resident("VmHWM") - self.before
            found["perf/peak_memory_gb"] = max(0.0, peak) / GB
        if self.predicted:
            found["perf/predicted_memory_gb"] = self.predicted / GB
        return found


def resident(name: str) -> float:
    """Bytes of this process: VmRSS, now, or VmHWM, at the most; 0 where the kernel says neither."""
    with contextlib.suppress(OSError):
        for line in STATUS.read_text().splitlines():
            if line.startswith(f"{name}:"):
                return 1024.0 * float(line.split()[1])
    return 0.0
