"""Why a worker ended: from Ray's error, the kernel's word and the worker's last lines."""

from __future__ import annotations

import os
import re
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

from unet3d.machine import OomWatch

OOM = OomWatch()
LOWER = "type a smaller data.patch or batch_size, or a larger accumulate"
LAST_LINES = 20  # of a worker's stderr that are shown
# What a crash writes below its cause: Ray's frames, addresses in C++, all modules that are loaded.
NOISE = re.compile(r"site-packages/ray/|^\s*(\[.*\]\s+)?@ |^Extension modules:|^\[.*logging\.cc:")
READ_BYTES = 16384  # from its end


@dataclass(frozen=True)
class WorkerFailure:
    """reason: the same words each time it ends that way. final: it would come again; node_lost:
    the node went away, which is no fault of what ran there."""

    reason: str
    final: bool = False
    node_lost: bool = False


def worker_failure(error: Exception) -> WorkerFailure:
    """What Ray's `error` says of the end of a worker."""
    from ray.exceptions import NodeDiedError, OutOfMemoryError, RayActorError, WorkerCrashedError

    text = str(getattr(error, "cause", None) or error)
    if isinstance(error, OutOfMemoryError) or "running low on memory" in text:
        return _out_of_memory("its node had none left")
    if "Error: " not in text and isinstance(error, NodeDiedError):
        return WorkerFailure("its node was lost", node_lost=True)
    if isinstance(error, RayActorError) and error.actor_init_failed:
        return WorkerFailure(_last_line(text, error))
    if isinstance(error, RayActorError | WorkerCrashedError):
        preempted = isinstance(error, RayActorError) and error.preempted
        clues = ("node was terminated", "node died", "node has")
        if preempted or any(clue in text for clue in clues):
            return WorkerFailure("its node was lost", node_lost=True)
        if OOM.new():  # of this machine; another's kernel is not heard here
            return _out_of_memory("the kernel has killed its process")
        return WorkerFailure("its process was killed or ended by itself")
    return WorkerFailure(_last_line(text, error))


def worker_failure_reason(error: Exception) -> str:
    """Why a worker ended, in words that are the same each time it ends that way."""
    return worker_failure(error).reason


def _out_of_memory(how: str) -> WorkerFailure:
    return WorkerFailure(f"out of memory: {how}; run fewer at once, or {LOWER}", final=True)


def _last_line(text: str, error: Exception) -> str:
    lines = [line.strip() for line in text.splitlines()]
    lines = [line for line in lines if line and not line.startswith("[[")]  # TensorFlow's nodes
    return (lines[-1] if lines else type(error).__name__)[:200]


@contextmanager
def stderr_in(path: Path) -> Iterator[None]:
    """Have what this process writes to stderr in a file too small to matter and safe from its end.

    Also what C++ writes as it aborts, and Python's stack after a segmentation fault. Nothing is
    redirected where the file cannot be written.
    """
    sys.stderr.flush()
    former = -1
    with suppress(OSError):
        file = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_APPEND, 0o666)
        former = os.dup(2)
        os.dup2(file, 2)
        os.close(file)
    try:
        yield
    finally:
        sys.stderr.flush()
        if former >= 0:
            os.dup2(former, 2)
            os.close(former)


def last_lines(path: Path) -> list[str]:
    """The end of what a worker wrote to stderr; [] where there is nothing."""
    try:
        with path.open("rb") as file:
            file.seek(max(0, path.stat().st_size - READ_BYTES))
            text = file.read().decode(errors="replace")
    except OSError:
        return []
    lines = [
        line.rstrip()[:200] for line in text.splitlines() if line.strip() and not NOISE.search(line)
    ]
    return lines[-LAST_LINES:]


def shown(path: Path) -> str:
    """`last_lines` for a message, below it; "" where there is nothing."""
    lines = last_lines(path)
    return "".join(f"\n  | {line}" for line in lines)
