"""Ends Ray's processes when the process that started Ray is gone, even by `kill -9`.

Started as a program of its own: `python watchdog.py <token>`, with a pipe as standard input, whose
other end closes with the process that holds it. Ray's workers are known by the token in their
environment; its agents, which overwrite theirs, by the process ids that come through the pipe.
"""

from __future__ import annotations

import contextlib
import json
import os
import subprocess
import sys
import time
from collections.abc import Iterable

import psutil

VARIABLE = "UNET3D_RAY_OWNER"
DONE = "done"
SAME_START = 5.0  # seconds by which two processes may read another's start differently
Identity = tuple[int, float]  # of a process: id and time of its start


def start_watchdog(token: str) -> subprocess.Popen[str]:
    """A process that ends what carries `token`, unless `end_watch` is called before."""
    return subprocess.Popen(
        [sys.executable, "-P", __file__, token],
        stdin=subprocess.PIPE,
        stdout=subprocess.DEVNULL,
        text=True,
        start_new_session=True,  # neither Ctrl-C nor the end of the terminal reaches it
    )


def watch(watchdog: subprocess.Popen[str], processes: Iterable[Identity]) -> None:
    """Have it end these too, in place of those named before."""
    assert watchdog.stdin is not None
    with contextlib.suppress(OSError):  # killed: Ray goes on without it
        watchdog.stdin.write(json.dumps(list(processes)) + "\n")
        watchdog.stdin.flush()


def end_watch(watchdog: subprocess.Popen[str]) -> None:
    """End it; it kills nothing any more."""
    assert watchdog.stdin is not None
    with contextlib.suppress(OSError):
        watchdog.stdin.write(DONE + "\n")
        watchdog.stdin.close()
    watchdog.wait()


def end_processes(token: str, known: Iterable[Identity]) -> None:
    """Kill the processes that carry `token` in their environment, and the `known` ones."""
    started = dict(known)
    for _ in range(2):  # the first time may miss one that is just being started
        for process in psutil.process_iter():
            if process.pid != os.getpid():
                with contextlib.suppress(psutil.Error, OSError):
                    start = started.get(process.pid)
                    same = start and abs(process.create_time() - start) < SAME_START
                    if same or process.environ().get(VARIABLE) == token:
                        process.kill()
        time.sleep(0.1)


def main(token: str) -> None:
    """Wait for the end of the pipe."""
    known: list[Identity] = []
    for line in sys.stdin:
        if line.strip() == DONE:
            return
        known = [(pid, start) for pid, start in json.loads(line)]
    end_processes(token, known)


if __name__ == "__main__":
    main(sys.argv[1])
