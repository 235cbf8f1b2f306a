"""Every process that the soak's commands start, and their remains: the soak is their reaper."""

from __future__ import annotations

import contextlib
import ctypes
import os
import socket
import subprocess
import time
from collections.abc import Callable, Iterable
from pathlib import Path

import psutil

PR_SET_CHILD_SUBREAPER = 36  # prctl(2)
CLONE_NEWNS = 0x20000  # unshare(2)
SHARED_MEMORY = Path("/dev/shm")


def adopt_orphans() -> None:
    """Become the parent of each descendant whose own parent dies, so that none is overlooked."""
    if ctypes.CDLL(None, use_errno=True).prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0):
        raise OSError(ctypes.get_errno(), "prctl: orphans cannot be adopted")


def own_shared_memory() -> bool:
    """Give this process and all below it a /dev/shm of their own; False where root is needed.

    What is left there is then of the soak's commands, and of no other program of the machine.
    """
    if ctypes.CDLL(None, use_errno=True).unshare(CLONE_NEWNS):
        return False
    for words in (["--make-rprivate", "/"], ["-t", "tmpfs", "soak", str(SHARED_MEMORY)]):
        if subprocess.run(["mount", *words], capture_output=True).returncode:
            return False
    return True


def living(popened: Iterable[int]) -> list[psutil.Process]:
    """All processes below this one; adopted ones that have ended are reaped.

    popened: ids of those that subprocess.Popen waits for.
    """
    kept, found = set(popened), []
    for process in psutil.Process().children(recursive=True):
        with contextlib.suppress(psutil.Error):
            if process.status() != psutil.STATUS_ZOMBIE:
                found.append(process)
            elif process.ppid() == os.getpid() and process.pid not in kept:
                with contextlib.suppress(ChildProcessError):
                    os.waitpid(process.pid, os.WNOHANG)
    return found


def described(process: psutil.Process) -> str:
    """Its id and the command line, in short, with the port that it listens on."""
    try:
        words = process.cmdline() or [process.name()]
        ports = {c.laddr.port for c in process.net_connections() if c.status == psutil.CONN_LISTEN}
    except psutil.Error:
        return f"{process.pid} (has ended since)"
    words = [Path(words[0]).name, *words[1:]]
    return f"{process.pid} {' '.join(' '.join(words).split())[:70]}" + (
        f" on port {min(ports)}" if ports else ""
    )


def with_role(role: str, processes: list[psutil.Process]) -> list[psutil.Process]:
    """Those that are a trial worker, a worker of a group, raylet, gcs_server or the server."""
    is_role: dict[str, Callable[[str, str], bool]] = {
        "worker": lambda name, line: "TrialWorker" in line or "GroupWorker" in line,
        "raylet": lambda name, line: name == "raylet",
        "gcs_server": lambda name, line: name == "gcs_server",
        "server": lambda name, line: "-m mlflow server" in line,
    }
    found = []
    for process in processes:
        with contextlib.suppress(psutil.Error):
            if is_role[role](process.name(), " ".join(process.cmdline())):
                found.append(process)
    return sorted(found, key=lambda process: process.pid)


def wait_until_gone(seconds: float, popened: Iterable[int]) -> list[psutil.Process]:
    """Those that still live after `seconds`; returns as soon as there are none."""
    deadline = time.monotonic() + seconds
    while (left := living(popened)) and time.monotonic() < deadline:
        time.sleep(0.3)
    return left


def kill_all(popened: Iterable[int]) -> None:
    """SIGKILL to every process below this one, until none is left."""
    deadline = time.monotonic() + 20
    while (left := living(popened)) and time.monotonic() < deadline:
        for process in left:
            with contextlib.suppress(psutil.Error):
                process.kill()
        time.sleep(0.2)


def free_port() -> int:
    """A port that nobody listens on."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def port_is_free(port: int) -> bool:
    """Whether a server could listen there now."""
    try:
        with socket.create_server(("127.0.0.1", port)):
            return True
    except OSError:
        return False


def unused_shared_memory(since: float) -> list[Path]:
    """Entries of /dev/shm that changed after `since` and of which no living process has any open.

    Without `own_shared_memory` those of other programs cannot be told apart.
    """
    new = []
    for path in SHARED_MEMORY.iterdir() if SHARED_MEMORY.is_dir() else ():
        with contextlib.suppress(OSError):
            if path.stat().st_mtime > since:
                new.append(path)
    if not new:
        return []
    used: set[str] = set()
    for process in psutil.process_iter():
        with contextlib.suppress(psutil.Error, OSError):
            used |= {found.path for found in process.memory_maps()}
            used |= {found.path for found in process.open_files()}
    open_below = {part for name in used for part in (name, *map(str, Path(name).parents))}
    return [path for path in new if str(path) not in open_below and path.exists()]
