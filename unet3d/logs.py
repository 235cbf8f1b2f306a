"""Where log lines go: the console and the run's train.log. TensorFlow's start is hidden."""

from __future__ import annotations

import logging
import os
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TextIO

ROOT = logging.getLogger("unet3d")


def log_to_console() -> None:
    """Send the project's log lines to stdout, one short line each; safe to call twice."""
    ROOT.setLevel(logging.INFO)
    ROOT.propagate = False
    if not any(isinstance(handler, _Console) for handler in ROOT.handlers):
        handler = _Console(sys.stdout)
        handler.setFormatter(logging.Formatter("%(asctime)s %(message)s", datefmt="%H:%M:%S"))
        ROOT.addHandler(handler)


@contextmanager
def log_to_file(path: Path) -> Iterator[None]:
    """Append the project's log lines to `path` while the block runs."""
    handler = _RunLog(path)
    handler.setFormatter(logging.Formatter("%(asctime)s %(levelname)s %(message)s"))
    ROOT.addHandler(handler)
    try:
        yield
    finally:
        ROOT.removeHandler(handler)
        with suppress(OSError):
            handler.close()


class _Console(logging.StreamHandler[TextIO]):
    """While a bar is drawn, lines go above it: through what Rich has put in sys.stdout's place.

    A file or a pipe gets them itself, whatever is drawn on the terminal of stderr.
    """

    def emit(self, record: logging.LogRecord) -> None:
        if not self.stream.isatty() or sys.stdout is self.stream:
            super().emit(record)
            return
        try:
            sys.stdout.write(self.format(record) + self.terminator)
        except Exception:
            self.handleError(record)


class _RunLog(logging.FileHandler):
    """On a full disk it loses lines, which the console has; `logging` would print a traceback."""

    def handleError(self, record: logging.LogRecord) -> None:
        if not isinstance(sys.exc_info()[1], OSError):
            super().handleError(record)


class _Lines(logging.Handler):
    def __init__(self) -> None:
        super().__init__()
        self.lines: list[tuple[int, str]] = []

    def emit(self, record: logging.LogRecord) -> None:
        self.lines.append((record.levelno, record.getMessage()))


@contextmanager
def collect_lines() -> Iterator[list[tuple[int, str]]]:
    """Collect (level, text) of the project's log lines, to be logged again by another process."""
    handler = _Lines()
    ROOT.setLevel(logging.INFO)
    ROOT.addHandler(handler)
    try:
        yield handler.lines
    finally:
        ROOT.removeHandler(handler)


@contextmanager
def quiet_start() -> Iterator[None]:
    """Hide what is written to file descriptor 2 while the block runs, unless it raises.

    TensorFlow writes its start-up lines there from C++, before it reads TF_CPP_MIN_LOG_LEVEL. Set
    that variable to 0 to see everything.
    """
    if os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2") == "0":
        yield
        return
    sys.stderr.flush()
    stderr = os.dup(2)
    with tempfile.TemporaryFile() as held:
        os.dup2(held.fileno(), 2)
        try:
            yield
        except BaseException:
            held.seek(0)
            os.write(stderr, held.read())
            raise
        finally:
            sys.stderr.flush()
            os.dup2(stderr, 2)
            os.close(stderr)
