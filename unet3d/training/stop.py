"""SIGTERM and Ctrl-C ask a training to save and stop; a second Ctrl-C stops at once."""

from __future__ import annotations

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

from unet3d.parallel.place import ALONE, EARLY, Place
from unet3d.training.errors import RunStopped

ASK_SECONDS = 0.5


class StopRequest:
    """Whether, and by which signal, the training was asked to stop."""

    def __init__(self) -> None:
        self.signal: int | None = None
        self.early = False  # a sweep gives the trial up
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
    def asked(self) -> bool:
        """Whether the training is to save and stop."""
        return self.early or self.signal is not None

    @property
    def exit_code(self) -> int:
        """What a shell expects of a process that a signal ended."""
        return 128 + (self.signal or 0)


@contextmanager
def stop_requests(place: Place = ALONE) -> Iterator[StopRequest]:
    """Listen for SIGTERM and SIGINT; the former handlers come back at the end.

    The workers of a job get no signals: their chief asks for those of the process that started it.
    """
    request = StopRequest()
    if place.job:
        over = threading.Event()
        if place.chief:
            threading.Thread(target=_ask, args=(request, place, over), daemon=True).start()
        try:
            yield request
        finally:
            over.set()
        return
    former = {n: signal.signal(n, request.receive) for n in (signal.SIGTERM, signal.SIGINT)}
    try:
        yield request
    finally:
        for number, handler in former.items():
            signal.signal(number, handler)


def _ask(request: StopRequest, place: Place, over: threading.Event) -> None:
    while not over.wait(ASK_SECONDS):
        word = place.asked_to_stop()
        if word == EARLY:
            request.early = True
        elif word:
            request.signal = int(word)
            return
