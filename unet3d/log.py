"""Where log lines go: the console, and the run's own train.log."""

from __future__ import annotations

import logging
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

ROOT = logging.getLogger("unet3d")


def log_to_console() -> None:
    """Send the project's log lines to stdout, one short line each; safe to call twice."""
    ROOT.setLevel(logging.INFO)
    ROOT.propagate = False
    if not any(type(handler) is logging.StreamHandler for handler in ROOT.handlers):
        handler = logging.StreamHandler(sys.stdout)
        handler.setFormatter(logging.Formatter("%(asctime)s %(message)s", datefmt="%H:%M:%S"))
        ROOT.addHandler(handler)


@contextmanager
def log_to_file(path: Path) -> Iterator[None]:
    """Append the project's log lines to `path` while the block runs."""
    handler = logging.FileHandler(path)
    handler.setFormatter(logging.Formatter("%(asctime)s %(levelname)s %(message)s"))
    ROOT.addHandler(handler)
    try:
        yield
    finally:
        ROOT.removeHandler(handler)
        handler.close()


class _Lines(logging.Handler):
    def __init__(self) -> None:
        super().__init__()
        self.lines: list[tuple[int, str]] = []

    def emit(self, record: logging.LogRecord) -> None:
        self.lines.append((record.levelno, record.getMessage()))


@contextmanager
def collect_lines() -> Iterator[list[tuple[int, str]]]:
    """Level and text of the project's log lines while the block runs, for another process."""
    handler = _Lines()
    ROOT.setLevel(logging.INFO)
    ROOT.addHandler(handler)
    try:
        yield handler.lines
    finally:
        ROOT.removeHandler(handler)
