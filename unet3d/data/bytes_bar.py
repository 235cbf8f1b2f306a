"""How far a long reading or writing of bytes is: a bar on a terminal, a few lines elsewhere."""

from __future__ import annotations

import logging
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from rich.filesize import decimal

LOG = logging.getLogger(__name__)
STEP = 0.1  # share of the whole between two lines
STEP_BYTES = 100_000_000  # between two lines where the whole is unknown


@contextmanager
def bytes_bar(label: str, total: int | None, done: int = 0) -> Iterator[Callable[[int], None]]:
    """A function to call with each further number of bytes.

    total: bytes of the whole, None where unknown; done: those of an earlier try.
    """
    if sys.stderr.isatty():
        from rich import progress
        from rich.console import Console

        columns = (
            progress.TextColumn("{task.description}"),
            progress.BarColumn(),
            progress.DownloadColumn(),
            progress.TransferSpeedColumn(),
            progress.TimeRemainingColumn(),
        )
        with progress.Progress(*columns, console=Console(stderr=True), transient=True) as shown:
            task = shown.add_task(label, total=total, completed=done)
            yield lambda count: shown.advance(task, count)
        return
    step = max(1, int(total * STEP)) if total else STEP_BYTES
    reached = done

    def tell(count: int) -> None:
        nonlocal reached
        before, reached = reached, reached + count
        if before // step < reached // step:
            LOG.info("%s: %s%s", label, decimal(reached), f" of {decimal(total)}" if total else "")

    yield tell
