"""One run, or one sweep, has one writer: a lock, and a state file that it touches while it lives.

The lock is the kernel's, so that it ends with its process. It may not reach the other machines of a
network disk: these go by the age of the state file.
"""

from __future__ import annotations

import logging
import os
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, replace
from pathlib import Path

from unet3d.distributed.run_state import (
    FAILED,
    FINISHED,
    KILLED,
    RUNNING,
    State,
    read_state,
    start_of,
    state_text,
    this_machine,
)
from unet3d.errors import RunError, RunStopped, TrialRegrouped
from unet3d.files import read_text, write_text
from unet3d.machine import oom_kills

log = logging.getLogger(__name__)
BEAT_SECONDS = 5.0
POLL_SECONDS = 0.5
FORMER_SECONDS = 120.0  # for a lost writer to end, or to be silent long enough
SIGNALLED = 128  # exit codes above it are of a signal


class AlreadyWritten(RunError):
    """Another process writes this run."""


@dataclass
class Writer:
    """The right to write. begun: whether anything was written; before, the former state stays."""

    begun: bool = False


@contextmanager
def writing(state: Path, name: str, patience: float = 0.0, epochs: int = 0) -> Iterator[Writer]:
    """Be the only writer of the folder of `state`; how the block ends is then its state.

    name: what it is, as in "run abc is being trained". patience: seconds to wait for another
    writer, such as a former attempt that is ending. epochs: planned, for those who look. Raises
    AlreadyWritten where the other one goes on, RunError where the folder cannot be written.
    """
    with ExitStack() as stack:
        with _one_line(state.parent):
            state.parent.mkdir(parents=True, exist_ok=True)
        _take(stack, state, name, patience)
        former, at = read_text(state), _modified(state)
        own = State(
            RUNNING,
            host=socket.gethostname(),
            machine=this_machine(),
            pid=os.getpid(),
            started=start_of(os.getpid()) or 0,
            epochs=epochs,
            oom_kills=oom_kills(),
        )
        with _one_line(state.parent):
            write_text(state, state_text(own))
        writer, over = Writer(), threading.Event()
        beat = threading.Thread(
            target=_beat, args=(state, state_text(own), name, over), daemon=True
        )
        beat.start()
        status, reason = FINISHED, ""
        try:
            yield writer
        except BaseException as error:
            status, reason = _how_ended(error), str(error)
            raise
        finally:
            over.set()
            beat.join()
            with suppress(OSError):  # a full disk: the process is seen to have ended all the same
                if writer.begun or status == FINISHED:
                    write_text(state, state_text(replace(own, status=status, reason=reason[:5000])))
                elif former is None:
                    state.unlink(missing_ok=True)
                else:
                    write_text(state, former)
                    os.utime(state, (at, at))


def check_free(state: Path, name: str, patience: float = 0.0) -> None:
    """AlreadyWritten where another process writes the folder of `state`; for early messages.

    patience: seconds to wait for its end.
    """
    with ExitStack() as stack:
        if state.parent.is_dir():
            _take(stack, state, name, patience)


def end_for(
    state: Path, status: str, reason: str, ended: float = 0.0, patience: float = 0.0
) -> bool:
    """Keep how a run ended whose own process could not; False where it is still written.

    ended: when, in seconds since 1970; 0: now. patience: seconds for a killed process to end.
    """
    try:
        with ExitStack() as stack:
            _take(stack, state, "", patience)
            before = read_state(state) or State(RUNNING)
            ended = ended or time.time()
            write_text(
                state, state_text(replace(before, status=status, reason=reason, ended=ended))
            )
    except AlreadyWritten:
        return False
    except OSError as error:
        log.warning("%s: cannot be written (%s)", state, error.strerror)
    return True


def _take(stack: ExitStack, state: Path, name: str, patience: float) -> None:
    """Hold the lock; AlreadyWritten where another process is alive after `patience` seconds."""
    from filelock import FileLock, Timeout

    lock, deadline = FileLock(state.with_name(".lock")), time.monotonic() + patience
    try:
        try:
            lock.acquire(timeout=0)
        except Timeout:
            if patience and name:
                log.info("%s", _busy(name, read_state(state)))
            lock.acquire(timeout=patience, poll_interval=POLL_SECONDS)
        stack.callback(lock.release)
    except Timeout:
        raise AlreadyWritten(_busy(name, read_state(state))) from None
    except (NotImplementedError, OSError) as error:  # a disk without locks
        log.debug("%s: no lock (%s)", state.parent, error)
    own = (this_machine(), os.getpid())
    while (other := read_state(state)) is not None and other.alive(_now(state.parent)):
        if (other.machine, other.pid) == own:  # an earlier run of this process
            return
        if time.monotonic() >= deadline:
            raise AlreadyWritten(_busy(name, other))
        time.sleep(POLL_SECONDS)


@contextmanager
def _one_line(folder: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise RunError(
            f"{folder}: cannot be written ({error.strerror}); free space or rights, or choose "
            "another output_dir"
        ) from error


def _busy(name: str, other: State | None) -> str:
    who = f"pid {other.pid} on host {other.host}" if other and other.pid else "another process"
    return f"{name} by {who}; wait for its end, or stop that process"


def _how_ended(error: BaseException) -> str:
    if isinstance(error, TrialRegrouped):
        return KILLED
    if isinstance(error, RunStopped):
        return KILLED if error.exit_code > SIGNALLED else FAILED
    return KILLED if isinstance(error, KeyboardInterrupt | SystemExit) else FAILED


def _beat(state: Path, text: str, name: str, over: threading.Event) -> None:
    """Touch the state, until `over`; ends the process where another one has taken the run over."""
    while not over.wait(BEAT_SECONDS):
        found = read_text(state)
        if found == text:
            with suppress(OSError):
                os.utime(state)
        elif found is not None:
            # Only after a minute of silence, as of a machine that was suspended. The other process
            # goes on from the last checkpoint; to write another one now would harm it.
            other = read_state(state)
            log.critical("%s; this process was silent too long and ends", _busy(name, other))
            os._exit(1)


def _modified(path: Path) -> float:
    with suppress(OSError):
        return path.stat().st_mtime
    return 0.0


def _now(folder: Path) -> float:
    """The time by the clock that dates the folder's files, which may be another machine's."""
    probe = folder / f".clock-{os.getpid()}"
    try:
        probe.touch()
        return probe.stat().st_mtime
    except OSError:
        return time.time()
    finally:
        with suppress(OSError):
            probe.unlink()
