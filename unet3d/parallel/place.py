"""Where a process stands among the workers of a run."""

from __future__ import annotations

import json
import os
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from unet3d.data.atomic import write_text

EPOCHS = "epochs"  # in a job's folder: a line of JSON an epoch
EARLY = "early"  # the word that stops a trial for good, where a signal's number stops it for now


@dataclass(frozen=True)
class Place:
    """One of `workers` processes that train together; the defaults are those of a run alone.

    Worker 0 is the chief: it alone writes checkpoints and talks to MLflow. `job` is a folder that
    all workers and the process that started them see, of a job over nodes or of a sweep's trial.
    """

    rank: int = 0
    workers: int = 1
    hosts: tuple[str, ...] = ()  # of each worker
    threads: int | None = None  # CPU threads of this worker; None: as configured
    restarts: int = 0  # times that the workers were started anew
    job: Path | None = None

    @property
    def chief(self) -> bool:
        """Whether this worker writes."""
        return self.rank == 0

    def announce(self, run_id: str) -> None:
        """The chief tells the others which run this is."""
        if self.job:
            write_text(self.job / "run_id", run_id)

    def announced(self, timeout: float = 600.0) -> str:
        """The run that the chief told; TimeoutError after `timeout` seconds without a word."""
        assert self.job is not None
        deadline = time.monotonic() + timeout
        while (told := read_word(self.job / "run_id")) is None:
            if time.monotonic() > deadline:
                raise TimeoutError(f"worker {self.rank}: no word of the chief in {timeout:.0f} s")
            time.sleep(0.05)
        return told

    def asked_to_stop(self) -> str | None:
        """The signal that the process which started this one has received, or EARLY, if any."""
        return read_word(self.job / "stop") if self.job else None

    def record(self, epoch: dict[str, Any]) -> None:
        """The chief tells of an epoch that has ended."""
        if self.job and self.chief:
            with (self.job / EPOCHS).open("a") as file:
                file.write(json.dumps(epoch) + "\n")


ALONE = Place()


def read_word(path: Path) -> str | None:
    """The text of a small file that another process writes whole; None where there is none."""
    try:
        return path.read_text()
    except OSError:
        return None


def cores() -> int:
    """CPU cores that this process may use."""
    return len(os.sched_getaffinity(0))
