"""What a command of `unet3d` is."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass


@dataclass(frozen=True)
class Command:
    """A row of the table: what `unet3d <name>` runs, and what its help says.

    run: takes the arguments and returns the exit code, None for 0. It imports what it needs, so
    that `--help` stays fast.
    schema: its own settings. of_training: whether it takes those of train.py too. words: what it
    takes beside key=value, for its help. stopped: the line that a signal ends it with. by_hydra:
    whether Hydra takes the arguments, with options and a --help of its own.
    """

    name: str
    run: Callable[[list[str]], int | None]
    description: str
    examples: tuple[str, ...]
    schema: type | None = None
    of_training: bool = False
    words: str = ""
    stopped: str = "stopped"
    by_hydra: bool = False
