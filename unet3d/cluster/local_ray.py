"""Ray on this machine alone: started, watched, started again, and gone with its starter."""

from __future__ import annotations

import contextlib
import logging
import os
import signal
import subprocess
import threading
import time
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import psutil

from unet3d.cluster.ray_head import RayLost, check_head, head_is_watched
from unet3d.cluster.watchdog import (
    VARIABLE,
    Identity,
    end_processes,
    end_watch,
    start_watchdog,
    watch,
)
from unet3d.errors import RunError, in_a_line
from unet3d.machine import lives

log = logging.getLogger(__name__)
START_ATTEMPTS = 3
PAUSE_SECONDS = 10.0  # after a start that failed; twice as long after the second
MAX_LOSSES = 3  # of Ray itself in one command
WATCHED = ("gcs_server", "raylet")  # without either of these nothing goes on
POLL_SECONDS = 1.0


@dataclass
class _LocalRay:
    """The Ray that this process has started. settings: of ray.init."""

    settings: dict[str, Any]
    token: str = field(default_factory=lambda: uuid.uuid4().hex)
    watchdog: subprocess.Popen[str] | None = None
    parts: dict[str, psutil.Process] = field(default_factory=dict)  # those of WATCHED
    family: list[Identity] = field(default_factory=list)  # all processes of its start
    losses: int = 0


_own: list[_LocalRay] = []  # at most one, as there is one Ray in a process


@contextmanager
def local_ray(settings: dict[str, Any]) -> Iterator[None]:
    """Ray on this machine while the block runs.

    Its start is tried again where the machine is too busy for it. Raises RunError where it fails.
    """
    _own.append(_LocalRay(settings))
    try:
        _start_patiently()
        yield
    finally:
        _stop()
        _own.pop()


def check_ray() -> None:
    """RayLost where a part of the Ray that this process has started is gone, or another's head."""
    check_head()
    for name, process in _own[0].parts.items() if _own else ():
        if not lives(process):
            raise RayLost(f"Ray's {name} was killed or ended by itself")


def start_ray_again() -> None:
    """After RayLost, and at most MAX_LOSSES times, beyond which it is raised again.

    All actors, tasks and references of before are gone.
    """
    if head_is_watched():
        check_head()
        raise RayLost("the cluster was lost; start it again")
    ray = _own[0]
    _stop()
    ray.losses += 1
    if ray.losses > MAX_LOSSES:
        raise RayLost(f"Ray has ended {ray.losses} times, though it was started again")
    log.warning("parallel: Ray is started again, time %d of at most %d", ray.losses, MAX_LOSSES)
    ray.token = uuid.uuid4().hex
    _start_patiently()


def get_watched(references: list[Any]) -> list[Any]:
    """ray.get, which would wait for ever where Ray is gone. Raises RayLost."""
    import ray

    pending = references
    while pending:
        check_ray()
        _, pending = ray.wait(pending, num_returns=len(pending), timeout=POLL_SECONDS)
    return list(ray.get(references))


def ray_lives() -> bool:
    """Whether there is anything to tidy up; Ray's calls hang for a minute where it is gone."""
    try:
        check_ray()
    except RayLost:
        return False
    return True


def _start_patiently() -> None:
    attempt = 1
    while True:
        try:
            return _start(_own[0])
        except RayLost:
            raise
        except Exception as error:
            _stop()
            reason = in_a_line(error)
            if isinstance(error, ValueError | TypeError) or "Unknown keyword" in reason:
                raise RunError(f"hydra.launcher.ray.init: {reason}") from error
            if isinstance(error, RunError):
                raise
            if attempt == START_ATTEMPTS:
                raise RunError(
                    f"parallel: Ray did not start on this machine in {attempt} attempts "
                    f"({reason}); if the machine is busy or its memory full, type the same "
                    "command again when less runs on it"
                ) from error
        pause = PAUSE_SECONDS * attempt
        log.warning("parallel: Ray did not start (%s); again in %.0f s", reason, pause)
        time.sleep(pause)
        attempt += 1


def _start(own: _LocalRay) -> None:
    import ray

    own.watchdog = start_watchdog(own.token)
    os.environ[VARIABLE] = own.token
    try:
        with signal_handlers_kept():
            ray.init("local", **own.settings)
    finally:
        del os.environ[VARIABLE]  # what this process starts itself is not Ray's
    for process in psutil.Process().children(recursive=True):
        with contextlib.suppress(psutil.Error):  # it may have ended already
            if process.pid != own.watchdog.pid:
                own.family.append((process.pid, process.create_time()))
                if process.name() in WATCHED:
                    own.parts[process.name()] = process
    watch(own.watchdog, own.family)


def _stop() -> None:
    import ray

    own = _own[0]
    if not ray_lives() or not own.parts:  # ray.shutdown() waits for what does not answer
        end_processes(own.token, own.family)
    ray.shutdown()
    if own.watchdog is not None:
        end_processes(own.token, own.family)
        end_watch(own.watchdog)
    own.watchdog, own.parts, own.family = None, {}, []


@contextmanager
def signal_handlers_kept() -> Iterator[None]:
    """Call ray.init in this block: it replaces the handler of SIGTERM by one that exits.

    A SIGTERM meanwhile gets the former handler's answer at the end, as Ray would print and lose
    what a handler raises within its compiled code. Ray's processes do not see SIGHUP, with
    which the end of a terminal would end them before the training has saved.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    former = signal.getsignal(signal.SIGTERM)
    mask = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGHUP})
    asked: list[int] = []
    signal.signal(signal.SIGTERM, lambda number, _: asked.append(number))
    try:
        yield
    except SystemExit:  # Ray's handler
        asked.append(signal.SIGTERM)
    finally:
        signal.signal(signal.SIGTERM, former)
        signal.pthread_sigmask(signal.SIG_SETMASK, mask)
    if asked:
        signal.raise_signal(signal.SIGTERM)
        raise RayLost("stopped while Ray was starting")  # the former handler took a note of it
