"""What waits to be sent to the tracking store: in order, by a thread, without end or hold-up."""

from __future__ import annotations

import logging
import queue
import signal
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from unet3d.tracking.connection import short
from unet3d.tracking.failures import may_pass

log = logging.getLogger(__name__)
RETRY_SECONDS = 5.0
PATIENCE = 5  # tries of a message while the store answers others, before those go first
LAST_TRIES = 3  # of such a message at the end
SIGNALS = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP)


@dataclass(frozen=True)
class Message:
    """A call of the store. patience: how often it may fail before others overtake it."""

    call: Callable[[], Any]
    patience: int = PATIENCE


class Outbox:
    """Sends messages in order. While the store is away they wait, and training goes on.

    A message that the store refuses for good is reported and left out. One that fails while the
    store answers is tried again later, and the others go first.
    """

    def __init__(self, uri: str, run_id: str, answers: Callable[[], Any], back: Callable[[], None]):
        """answers: a cheap call of the store. back: called when the store is there again."""
        self.uri, self.run_id, self.answers, self.back = uri, run_id, answers, back
        self.queue: queue.Queue[Message | None] = queue.Queue()
        self.late: list[Message] = []  # that failed while the store answered
        self.late_since = 0.0
        self.reported: set[str] = set()
        self.left_out = 0
        self.sending = False
        self.thread = threading.Thread(target=self._work, name="tracking", daemon=True)
        self.thread.start()

    def send(self, call: Callable[[], Any], patience: int = PATIENCE) -> None:
        """Queue a call of the store."""
        self.queue.put(Message(call, patience))

    def close(self, seconds: float) -> None:
        """Wait until all is sent, for at most `seconds` or until a signal; say what was not."""
        self.queue.put(None)
        with signals_noted() as noted:
            deadline = time.monotonic() + seconds
            while self.thread.is_alive() and time.monotonic() < deadline and not noted.is_set():
                self.thread.join(0.2)
            unsent = self.queue.qsize() - 1 + self.sending if self.thread.is_alive() else 0
            unsent += len(self.late) + self.left_out
            if unsent > 0:
                why = "still does not answer" if self.thread.is_alive() else "did not take all"
                log.error(
                    "tracking: %s %s; %d messages were not sent. All is in the run's folder; "
                    "unet3d record run=%s sends it",
                    self.uri,
                    why,
                    unsent,
                    self.run_id,
                )

    def _work(self) -> None:
        while (message := self.queue.get()) is not None:
            self.sending = True
            self._deliver(message)
            self.sending = False
            if self.late and time.monotonic() - self.late_since > RETRY_SECONDS:
                self._try_late()
        for _ in range(LAST_TRIES):
            if not self.late:
                break
            time.sleep(RETRY_SECONDS)
            self._try_late()

    def _deliver(self, message: Message) -> None:
        """Send a message, however long the store is away."""
        away, tries = False, 0
        while True:
            try:
                message.call()
                break
            except Exception as error:
                tries += 1
                if not may_pass(error):
                    self._leave_out(error)
                    break
                if tries >= message.patience and self._store_answers():
                    self._report(f"{short(error)}; it is tried again later", logging.WARNING)
                    self.late.append(message)
                    self.late_since = time.monotonic()
                    break
                if not away:
                    log.warning(
                        "tracking: %s does not answer (%s); training continues",
                        self.uri,
                        short(error),
                    )
                away = True
            time.sleep(RETRY_SECONDS)
        if away:
            log.info("tracking: %s answers again", self.uri)
            self.back()

    def _try_late(self) -> None:
        waiting, self.late = self.late, []
        for index, message in enumerate(waiting):
            try:
                message.call()
            except Exception as error:
                if may_pass(error):
                    self.late.append(waiting[index])
                else:
                    self._leave_out(error)
        self.late_since = time.monotonic()

    def _store_answers(self) -> bool:
        try:
            self.answers()
        except Exception as error:
            return not may_pass(error)
        return True

    def _leave_out(self, error: Exception) -> None:
        self.left_out += 1
        self._report(f"not recorded ({short(error)}); training continues", logging.ERROR)

    def _report(self, message: str, level: int) -> None:
        """Log a line, unless it was logged before."""
        if message not in self.reported:
            self.reported.add(message)
            log.log(level, "tracking: %s", message)


@contextmanager
def signals_noted() -> Iterator[threading.Event]:
    """An event that a signal sets; at the end the former handler gets the signal."""
    noted = threading.Event()
    received: list[int] = []
    former: dict[int, Any] = {}

    def note(number: int, frame: object) -> None:
        received.append(number)
        noted.set()

    if threading.current_thread() is threading.main_thread():
        for number in SIGNALS:
            if signal.getsignal(number) not in (signal.SIG_IGN, None):
                former[int(number)] = signal.signal(number, note)
    try:
        yield noted
    finally:
        for restored, handler in former.items():
            signal.signal(restored, handler)
    if received:
        signal.raise_signal(received[0])
