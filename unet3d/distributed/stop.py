"""SIGTERM, SIGHUP and Ctrl-C ask a training to save and stop; a second Ctrl-C stops at once."""

from __future__ import annotations

import os
import signal
import stat
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from types import FrameType
from typing import Any

from unet3d.distributed.job_folder import JobFolder
from unet3d.distributed.worker import SINGLE_WORKER, WorkerContext
from unet3d.errors import RunStopped

POLL_SECONDS = 0.5
EXTERNAL = (signal.SIGTERM, signal.SIGHUP)  # the end of the job, and of the terminal


class StopRequest:
    """Whether, and by which signal, the training was asked to stop."""

    def __init__(self) -> None:
        self.signal: int | None = None
        self.pruned = False  # a sweep stops the trial for good
        self.regroup = False  # a sweep has other devices for the trial, from the next epoch on
        self.deferred = False  # True while the loop, which looks at `signal`, has state to save

    def receive(self, number: int, frame: FrameType | None) -> None:
        """The signal handler."""
        again = self.signal == signal.SIGINT == number
        self.signal = number
        if again:
            raise KeyboardInterrupt
        if not self.deferred and not _stopping():
            message = "stopped before the first step; there is nothing to resume"
            raise RunStopped(message, self.exit_code)

    @property
    def asked(self) -> bool:
        """Whether the training shall save and stop."""
        return self.pruned or self.signal is not None

    @property
    def exit_code(self) -> int:
        """What a shell expects of a process that a signal ended."""
        return 128 + (self.signal or 0)


@contextmanager
def stop_requests(worker: WorkerContext = SINGLE_WORKER) -> Iterator[StopRequest]:
    """Listen for SIGTERM, SIGHUP and SIGINT; the former handlers come back at the end.

    The workers of a job get no signals: their chief looks in the job's folder for those of the
    process that started it.
    """
    request = StopRequest()
    if worker.job_folder:
        over = threading.Event()
        if worker.chief:
            arguments = (request, worker.job_folder, over)
            threading.Thread(target=_watch, args=arguments, daemon=True).start()
        try:
            yield request
        finally:
            over.set()
        return
    with _handled((*EXTERNAL, signal.SIGINT), request.receive):
        yield request


@contextmanager
def stopped_by_signals(message: str) -> Iterator[None]:
    """SIGTERM and SIGHUP raise RunStopped with `message` where nothing inside listens to them."""

    def receive(number: int, frame: FrameType | None) -> None:
        if not _stopping():
            raise RunStopped(message, 128 + number)

    if threading.current_thread() is not threading.main_thread():  # which alone gets signals
        yield
        return
    with _handled(EXTERNAL, receive):
        yield


@contextmanager
def signals_held() -> Iterator[Callable[[], None]]:
    """Hold SIGTERM and SIGHUP back in this block; what it yields hands them on, as its end does.

    For loops over Ray: what a handler raises within Ray's compiled code is printed and lost, and
    what it raises while a generator is closed cuts the closing short.
    """
    if threading.current_thread() is not threading.main_thread():
        yield lambda: None
        return
    former = {number: signal.getsignal(number) for number in EXTERNAL}
    held: list[signal.Signals] = []

    def hand_on() -> None:
        if held:
            handler = former[held[0]]
            if callable(handler):
                handler(held[0], None)
            elif handler == signal.SIG_DFL:
                raise RunStopped("stopped", 128 + held[0])

    with _handled(EXTERNAL, lambda number, frame: held.append(signal.Signals(number))):
        yield hand_on
    hand_on()


def ignore_signals() -> None:
    """Let nothing interrupt the last steps of a command that was stopped; its exit code is set."""
    if threading.current_thread() is threading.main_thread():
        for number in EXTERNAL:
            signal.signal(number, signal.SIG_IGN)


@contextmanager
def _handled(
    numbers: tuple[signal.Signals, ...], handler: Callable[[int, FrameType | None], None]
) -> Iterator[None]:
    """Call `handler` for the signals, but for a SIGHUP that nohup has had ignored."""
    terminal = [descriptor for descriptor in (0, 1, 2) if _is_terminal(descriptor)]

    def handle(number: int, frame: FrameType | None) -> None:
        if number == signal.SIGHUP:
            _leave_terminal(terminal)
        handler(number, frame)

    former: dict[signal.Signals, Any] = {}
    for number in numbers:
        if not (number == signal.SIGHUP and signal.getsignal(number) == signal.SIG_IGN):
            former[number] = signal.signal(number, handle)
    try:
        yield
    finally:
        for number, one in former.items():
            signal.signal(number, one)


def _stopping() -> bool:
    """Whether what was raised for an earlier signal is on its way up, and tidies up meanwhile."""
    error = sys.exception()
    while error is not None and not isinstance(error, RunStopped):
        error = error.__context__
    return error is not None


def _is_terminal(descriptor: int) -> bool:
    with suppress(OSError):
        return stat.S_ISCHR(os.fstat(descriptor).st_mode) and os.isatty(descriptor)
    return False


def _leave_terminal(descriptors: list[int]) -> None:
    """The terminal is gone: what is printed from now on would be an error."""
    if descriptors:
        nowhere = os.open(os.devnull, os.O_RDWR)
        for descriptor in descriptors:
            os.dup2(nowhere, descriptor)
        os.close(nowhere)


def _watch(request: StopRequest, folder: JobFolder, over: threading.Event) -> None:
    while not over.wait(POLL_SECONDS):
        request.pruned = request.pruned or folder.pruned()
        request.regroup = folder.regroup_asked()
        number = folder.stop_signal()
        if number is not None:
            request.signal = number
            return
