"""How far a long work over many cases is: a bar on a terminal, a line now and then elsewhere."""

from __future__ import annotations

import logging
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from time import monotonic

LOG = logging.getLogger(__name__)
LINE_SECONDS = 30.0  # between two lines


@contextmanager
def case_bar(doing: str, total: int, shown: bool = True) -> Iterator[Callable[[], None]]:
    """A function to call as each of `total` cases ends. doing: what is done to them, one word."""
    if not shown:
        yield lambda: None
    elif sys.stderr.isatty():
        from rich.console import Console
        from rich.progress import Progress

        with Progress(console=Console(stderr=True)) as bar:
            task = bar.add_task(doing, total=total)
            yield lambda: bar.advance(task)
    else:
        done, told = 0, monotonic()

        def advance() -> None:
            nonlocal done, told
            done += 1
            if monotonic() - told > LINE_SECONDS:
                told = monotonic()
                LOG.info("data: %s, %d of %d cases are done", doing, done, total)

        yield advance
