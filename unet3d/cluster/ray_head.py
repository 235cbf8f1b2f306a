"""The head of a cluster that others have started, watched as our own Ray is.

Ray itself tries for a minute to reach a head that is gone, then ends the process that waits.
"""

from __future__ import annotations

import logging
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

log = logging.getLogger(__name__)
LOOK_SECONDS = 2.0
CONNECT_SECONDS = 5.0
PATIENCE_SECONDS = 15.0  # for a head that starts again, or a network that comes back


class RayLost(Exception):
    """Ray itself has ended, not one of its workers; the message says which part of it."""


@dataclass
class _Head:
    """host:port, and since when it has not answered; None: it does."""

    address: str
    silent_since: float | None = None
    over: threading.Event = field(default_factory=threading.Event)

    def lost(self) -> bool:
        return (
            self.silent_since is not None
            and time.monotonic() - self.silent_since > PATIENCE_SECONDS
        )

    def look(self) -> None:
        """In a thread: whether it still takes connections, every few seconds."""
        host, _, port = self.address.rpartition(":")
        while not self.over.wait(LOOK_SECONDS):
            try:
                socket.create_connection((host.strip("[]"), int(port)), CONNECT_SECONDS).close()
                self.silent_since = None
            except OSError:
                if self.silent_since is None:
                    self.silent_since = time.monotonic()


_heads: list[_Head] = []  # at most one, as there is one Ray in a process


@contextmanager
def watched_head(address: str) -> Iterator[None]:
    """Watch the head at host:port while the block runs; `check_head` says how it is."""
    head = _Head(address)
    _heads.append(head)
    threading.Thread(target=head.look, name="ray head", daemon=True).start()
    try:
        yield
    finally:
        head.over.set()
        _heads.remove(head)


def head_is_watched() -> bool:
    """Whether this process works on a cluster that others have started."""
    return bool(_heads)


def check_head() -> None:
    """RayLost where the head of the cluster has not answered for a while."""
    for head in _heads:
        if head.lost():
            raise RayLost(
                f"the head of the Ray cluster at {head.address} does not answer any more; start it "
                "again"
            )


def leave_cluster() -> None:
    """ray.shutdown(), which would wait for a head that is gone."""
    import ray

    if not any(head.silent_since for head in _heads):
        ray.shutdown()
