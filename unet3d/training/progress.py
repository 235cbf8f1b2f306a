"""The progress bar of an epoch: loss, Dice, ms a step and time left; none without a terminal."""

from __future__ import annotations

import time
from types import TracebackType
from typing import Self

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn


class EpochBar:
    """A context manager; `update` after each step."""

    def __init__(self, epoch: int, epochs: int, steps: int, done: int):
        console = Console()
        self.progress = Progress(
            TextColumn(f"epoch {epoch}/{epochs}"),
            BarColumn(),
            MofNCompleteColumn(),
            TextColumn("{task.fields[told]}"),
            TimeRemainingColumn(),
            console=console,
            transient=True,
            disable=not console.is_terminal,
        )
        self.task = self.progress.add_task("", total=steps, completed=done, told="")
        self.last = time.perf_counter()

    def update(self, done: int, loss: float, dice: float) -> None:
        """Show `done` steps, the epoch's mean loss and Dice so far."""
        now = time.perf_counter()
        told = f"loss {loss:.3f}  dice {dice:.3f}  {1000 * (now - self.last):.0f} ms/step"
        self.last = now
        self.progress.update(self.task, completed=done, told=told)

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
