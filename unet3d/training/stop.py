"""SIGTERM and Ctrl-C ask a training to save and stop; a second Ctrl-C stops at once."""

from __future__ import annotations

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

from unet3d.training.errors import RunStopped


class StopRequest:
    """Whether, and by which signal, the training was asked to stop."""

    def __init__(self) -> None:
        self.signal: int | None = None
        self.deferred = False  # True while the loop, which asks for `signal`, has state to save

    def receive(self, number: int, frame: FrameType | None) -> None:
        """The signal handler."""
        again = self.signal == signal.SIGINT == number
        self.signal = number
        if again:
            raise KeyboardInterrupt
        if not self.deferred:
            raise RunStopped("stopped before the first step; nothing to go on from", self.exit_code)

    @property
    def exit_code(self) -> int:
        """What a shell expects of a process that a signal ended."""
        return 128 + (self.signal or 0)


@contextmanager
def stop_requests() -> Iterator[StopRequest]:
    """Listen for SIGTERM and SIGINT; the former handlers come back at the end."""
    request = StopRequest()
    if threading.current_thread() is not threading.main_thread():
        yield request  # only the main thread may set handlers
        return
    former = {n: signal.signal(n, request.receive) for n in (signal.SIGTERM, signal.SIGINT)}
    try:
        yield request
    finally:
        for number, handler in former.items():
            signal.signal(number, handler)
