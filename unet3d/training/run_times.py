"""What the time of a run was spent on: the metrics perf/..._s."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

# In the order in which a run comes to them.
PARTS = (
    *("start", "trace", "input_wait", "step", "allreduce"),
    *("validate", "checkpoint", "record", "end"),
)


class RunTimes:
    """Seconds of one process' training, each part measured by itself, and those of all of it.

    A part that lies within another counts for itself alone. What nothing measures is in no part,
    so that the parts are less than the whole by as much as was forgotten.
    """

    def __init__(self, before: float = 0.0):
        """before: seconds that the process has run already."""
        self.begun = time.perf_counter() - before
        self.spent = dict.fromkeys(PARTS, 0.0)
        self.spent["start"] = before
        self.recorded = dict.fromkeys(PARTS, 0.0)
        self.epochs = 0  # recorded so far, of all processes of the run
        self.running: list[tuple[str, float]] = []  # (part, since), the innermost last

    @contextmanager
    def measure(self, part: str) -> Iterator[None]:
        """Count the time of this block as `part`."""
        now = time.perf_counter()
        self._add_running(now)
        self.running.append((part, now))
        try:
            yield
        finally:
            now = time.perf_counter()
            self._add_running(now)
            self.running.pop()
            if self.running:
                self.running[-1] = self.running[-1][0], now

    def _add_running(self, now: float) -> None:
        if self.running:
            part, since = self.running[-1]
            self.spent[part] += now - since
            self.running[-1] = part, now

    def count_all_reduce(self, seconds: float) -> None:
        """Of the time of the steps, `seconds` were spent on adding up gradients."""
        seconds = min(seconds, self.spent["step"] - self.recorded["step"])
        self.spent["step"] -= seconds
        self.spent["allreduce"] += seconds

    def metrics(self) -> dict[str, float]:
        """perf/<part>_s since the last call, without parts that took no time."""
        now = dict(self.spent)
        if self.running:
            part, since = self.running[-1]
            now[part] += time.perf_counter() - since
        spent = {part: now[part] - self.recorded[part] for part in PARTS}
        self.recorded = now
        return {f"perf/{part}_s": seconds for part, seconds in spent.items() if seconds > 0}

    def last_metrics(self) -> dict[str, float]:
        """Those since the last call, and perf/wall_s: all seconds from the start until now.

        The parts of all calls add up to it but for what nothing has measured.
        """
        return self.metrics() | {"perf/wall_s": time.perf_counter() - self.begun}

    def end_record(self) -> dict[str, Any]:
        """What was spent since the last epoch was recorded, as an epoch's record."""
        metrics = self.last_metrics()
        return {"epoch": self.epochs, "time": int(time.time() * 1000), "metrics": metrics}

    def text(self) -> str:
        """What was spent so far, in a line."""
        parts = [f"{part} {self.spent[part]:.1f}" for part in PARTS if self.spent[part] >= 0.05]
        return f"{time.perf_counter() - self.begun:.1f} s: {', '.join(parts)}"


_process_counted = False


def begin_times(own_process: bool) -> RunTimes:
    """The clock of a training that begins. own_process: whether this process is there for it alone.

    Then the start of Python and the imports count too; not in a second training of a process.
    """
    global _process_counted
    before = process_seconds() if own_process and not _process_counted else 0.0
    _process_counted = True
    return RunTimes(before)


def process_seconds() -> float:
    """For how long this process has run; 0 on systems that do not say so in /proc."""
    try:
        fields = Path("/proc/self/stat").read_text().rpartition(")")[2].split()
        ticks = int(fields[19])  # since the machine started
        return time.clock_gettime(time.CLOCK_BOOTTIME) - ticks / os.sysconf("SC_CLK_TCK")
    except (OSError, AttributeError):
        return 0.0
