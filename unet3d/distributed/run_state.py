"""What the folder of a run, or of a sweep, says of the process that writes it: state.json."""

from __future__ import annotations

import json
import os
import socket
import time
from contextlib import suppress
from dataclasses import asdict, dataclass, fields, replace
from functools import cached_property
from pathlib import Path

from unet3d.files import read_text
from unet3d.machine import oom_kills

SILENT_SECONDS = 60.0  # after which a process of another machine counts as dead
RUNNING, FINISHED, FAILED, KILLED = "RUNNING", "FINISHED", "FAILED", "KILLED"


@dataclass(frozen=True)
class State:
    """What state.json says. status: RUNNING until the writer has ended it, in MLflow's words.

    started: of the process, in clock ticks of its machine. epochs: planned. oom_kills: of the
    machine when the process began, None where unknown. beat: when it was last touched, in seconds
    since 1970.
    """

    status: str
    reason: str = ""
    host: str = ""
    machine: str = ""
    pid: int = 0
    started: int = 0
    epochs: int = 0
    oom_kills: int | None = None
    ended: float = 0.0
    beat: float = 0.0

    def alive(self, now: float) -> bool:
        """Whether its process still runs: seen here, or heard of by `now` from elsewhere."""
        if self.status != RUNNING:
            return False
        if self.machine == this_machine():
            return start_of(self.pid) == self.started
        return now - self.beat < SILENT_SECONDS

    @cached_property
    def cause(self) -> str:
        """What the kernel says of the end of a process that could not say it; "" if nothing."""
        now = oom_kills()
        if self.machine != this_machine() or now is None or self.oom_kills is None:
            return ""
        killed = now - self.oom_kills
        return f"out of memory, as the kernel has killed {killed} processes here since" * (
            killed > 0
        )


def read_state(path: Path) -> State | None:
    """The state of a run or sweep; None where it is of an earlier version."""
    try:
        with path.open(encoding="utf-8") as file:  # opened first: a network disk then looks anew
            modified = os.fstat(file.fileno()).st_mtime
            found = json.load(file)
        known = {field.name for field in fields(State)}
        state = State(**{key: value for key, value in found.items() if key in known})
        return replace(state, beat=modified)
    except (OSError, ValueError, TypeError, AttributeError):
        return None


def state_text(state: State) -> str:
    """The contents of state.json."""
    kept = asdict(state)
    del kept["beat"]
    if state.status != RUNNING:
        kept["ended"] = state.ended or time.time()
    return json.dumps(kept, indent=1)


def start_of(pid: int) -> int | None:
    """When a process began, in clock ticks since the machine did; None if it does not live."""
    text = read_text(Path(f"/proc/{pid}/stat"))
    if text is None:
        return None
    words = text.rpartition(")")[2].split()
    return None if words[0] in "ZX" else int(words[19])


def this_machine() -> str:
    """The same for processes that see each other's ids."""
    parts = [socket.gethostname(), read_text(Path("/proc/sys/kernel/random/boot_id")) or ""]
    with suppress(OSError):
        parts.append(os.readlink("/proc/self/ns/pid"))
    return " ".join(part.strip() for part in parts)
