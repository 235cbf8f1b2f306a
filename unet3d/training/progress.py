"""The progress bar of an epoch: loss, Dice, ms a step and time left; none without a terminal."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn


@contextmanager
def epoch_bar(
    epoch: int, epochs: int, steps: int, done: int
) -> Iterator[Callable[[int, float, float], None]]:
    """Yields what is to be called after each step: (steps done, mean loss, Dice so far)."""
    console = Console()
    progress = Progress(
        TextColumn(f"epoch {epoch}/{epochs}"),
        BarColumn(),
        MofNCompleteColumn(),
        TextColumn("{task.fields[told]}"),
        TimeRemainingColumn(),
        console=console,
        transient=True,
        disable=not console.is_terminal,
    )
    task = progress.add_task("", total=steps, completed=done, told="")
    last = time.perf_counter()

    def update(done: int, loss: float, dice: float) -> None:
        nonlocal last
        now = time.perf_counter()
        told = f"loss {loss:.3f}  dice {dice:.3f}  {1000 * (now - last):.0f} ms/step"
        last = now
        progress.update(task, completed=done, told=told)

    with progress:
        yield update
