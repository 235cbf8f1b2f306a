"""Processes that a test has started, found by what they run."""

from __future__ import annotations

from contextlib import suppress

import psutil


def running_below(parent: int, word: str, *, recursive: bool = True) -> list[psutil.Process]:
    """The processes below `parent` with `word` in their command.

    One that has ended meanwhile, or that nobody has waited for, runs nothing.
    """
    found = []
    for process in psutil.Process(parent).children(recursive=recursive):
        with suppress(psutil.NoSuchProcess):  # a zombie is one of these
            if word in " ".join(process.cmdline()):
                found.append(process)
    return found
