"""Runs a server that ends with the process that started it, however that one ends.

Started as a program of its own: `python guardian.py <command>`, with a pipe as standard input. The
pipe's other end closes when the starter ends, even by SIGKILL; then all processes of the command
are ended.
"""

from __future__ import annotations

import contextlib
import ctypes
import os
import select
import signal
import subprocess
import sys
import time

import psutil

PR_SET_PDEATHSIG = 1
POLL_SECONDS = 0.5
GRACE_SECONDS = 10.0  # between SIGTERM and SIGKILL


def main(command: list[str]) -> int:
    """Run the command until it ends or the starter is gone; returns its exit code."""
    starter, stop = os.getppid(), [False]
    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
        signal.signal(number, lambda *_: stop.__setitem__(0, True))
    # A session of its own, so that its workers can be ended with it.
    server = subprocess.Popen(
        command, stdin=subprocess.DEVNULL, start_new_session=True, preexec_fn=_end_with_parent
    )
    try:
        # A fork of the starter may hold the pipe open: look at the parent as well.
        while server.poll() is None and not stop[0] and os.getppid() == starter:
            if select.select([0], [], [], POLL_SECONDS)[0] and not os.read(0, 1):
                break
    finally:
        end_group(server.pid)
    return server.wait()


def _end_with_parent() -> None:
    """Have the kernel send SIGTERM to this process when its parent ends, itself killed."""
    with contextlib.suppress(OSError, AttributeError):  # Linux has it
        ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGTERM)


def end_group(leader: int) -> None:
    """End all processes of a group, and those below its leader; hard where SIGTERM does not."""
    below: list[psutil.Process] = []  # also those that have a group of their own
    with contextlib.suppress(psutil.Error):
        below = psutil.Process(leader).children(recursive=True)
    for number, seconds in ((signal.SIGTERM, GRACE_SECONDS), (signal.SIGKILL, 2.0)):
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(leader, number)
        for process in below:
            with contextlib.suppress(psutil.Error):
                process.send_signal(number)
        deadline = time.monotonic() + seconds
        while _alive(leader, below):
            if time.monotonic() > deadline:
                break
            time.sleep(0.1)
        else:
            return


def _alive(leader: int, below: list[psutil.Process]) -> bool:
    """Whether one of them is; a zombie, which waits for its parent only, is not."""
    for process in [*psutil.process_iter(), *below]:
        with contextlib.suppress(psutil.Error, OSError):
            ours = process in below or os.getpgid(process.pid) == leader
            if ours and process.is_running() and process.status() != psutil.STATUS_ZOMBIE:
                return True
    return False


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
