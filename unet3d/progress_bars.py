"""Progress of long work: a bar on a terminal, a log line now and then elsewhere."""

from __future__ import annotations

import logging
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import TracebackType
from typing import Self

from rich.console import Console
from rich.filesize import decimal
from rich.live import Live
from rich.progress import (
    BarColumn,
    DownloadColumn,
    MofNCompleteColumn,
    Progress,
    TextColumn,
    TimeRemainingColumn,
    TransferSpeedColumn,
)

log = logging.getLogger(__name__)
LINE_SECONDS = 30.0  # between two lines of case_bar
LINE_SHARE = 0.1  # of the whole between two lines of bytes_bar
ANNOUNCE_SECONDS = 1.0  # between two calls for a bar in another process
LINE_BYTES = 100_000_000  # between two lines of bytes_bar where the whole is unknown


class LiveDrawing:
    """A context manager: `live` is drawn on a terminal, and does not start where there is none."""

    def __init__(self) -> None:
        self.console = Console()
        self.live = Live(console=self.console, refresh_per_second=4, transient=True)

    def __enter__(self) -> Self:
        if self.console.is_terminal:
            self.live.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.live.stop()


@contextmanager
def case_bar(doing: str, total: int, shown: bool = True) -> Iterator[Callable[[], None]]:
    """Yields a function to call as each of `total` cases ends. doing: one word for the log."""
    if not shown:
        yield lambda: None
    elif sys.stderr.isatty():
        with Progress(console=Console(stderr=True)) as bar:
            task = bar.add_task(doing, total=total)
            yield lambda: bar.advance(task)
    else:
        done, last_line = 0, time.monotonic()

        def advance() -> None:
            nonlocal done, last_line
            done += 1
            if time.monotonic() - last_line > LINE_SECONDS:
                last_line = time.monotonic()
                log.info("data: %s, %d of %d cases done", doing, done, total)

        yield advance


@contextmanager
def bytes_bar(label: str, total: int | None, done: int = 0) -> Iterator[Callable[[int], None]]:
    """Yields a function to call with the number of bytes that were added.

    total: bytes of the whole, None where unknown; done: bytes kept from an earlier try.
    """
    if sys.stderr.isatty():
        columns = (
            TextColumn("{task.description}"),
            BarColumn(),
            DownloadColumn(),
            TransferSpeedColumn(),
            TimeRemainingColumn(),
        )
        with Progress(*columns, console=Console(stderr=True), transient=True) as bar:
            task = bar.add_task(label, total=total, completed=done)
            yield lambda count: bar.advance(task, count)
        return
    step = max(1, int(total * LINE_SHARE)) if total else LINE_BYTES
    reached = done

    def advance(count: int) -> None:
        nonlocal reached
        before, reached = reached, reached + count
        if before // step < reached // step:
            log.info("%s: %s%s", label, decimal(reached), f" of {decimal(total)}" if total else "")

    yield advance


class StepBar:
    """A context manager: the bar of a training's steps, drawn where there is a terminal."""

    def __init__(self, console: Console | None = None) -> None:
        self.console = console or Console()
        self.progress = Progress(
            TextColumn("{task.description}"),
            BarColumn(),
            MofNCompleteColumn(),
            TextColumn("{task.fields[measured]}"),
            TimeRemainingColumn(),
            console=self.console,
            transient=True,
            disable=not self.console.is_terminal,
        )
        self.task = self.progress.add_task("", total=None, measured="", visible=False)
        self.shown = ""

    def show(self, epoch: str, done: int, steps: int, measured: str = "") -> None:
        """How far an epoch is; another one begins the bar, and its time, anew."""
        if epoch != self.shown:
            self.shown = epoch
            self.progress.reset(self.task, total=steps, completed=done, visible=True)
        self.progress.update(self.task, description=epoch, completed=done, measured=measured)

    def __enter__(self) -> Self:
        self.progress.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.progress.stop()


@contextmanager
def epoch_bar(
    epoch: int,
    epochs: int,
    steps: int,
    done: int,
    announce: Callable[[str, int, int], None] | None = None,
) -> Iterator[Callable[[int, float, float], None]]:
    """Yields a function to call after each step: (steps done, mean loss, Dice so far).

    announce: called with (epoch, steps done, steps) every second, for a bar elsewhere.
    """
    name = f"epoch {epoch}/{epochs}"
    last = time.perf_counter()
    announced = 0.0
    with StepBar() as bar:
        bar.show(name, done, steps)

        def update(done: int, loss: float, dice: float) -> None:
            nonlocal last, announced
            now = time.perf_counter()
            measured = f"loss {loss:.3f}  dice {dice:.3f}  {1000 * (now - last):.0f} ms/step"
            last = now
            bar.show(name, done, steps, measured)
            if announce is not None and (now - announced > ANNOUNCE_SECONDS or done == steps):
                announced = now
                announce(name, done, steps)

        yield update
