"""Text for the width of the terminal; where there is none, for a page of 100 characters."""

from __future__ import annotations

import shutil
import sys
import textwrap

WIDEST = 100
NARROWEST = 30  # below it, words would be cut


def width() -> int:
    """Characters of a line: COLUMNS, else those of the terminal, 100 at most."""
    return max(NARROWEST, min(WIDEST, shutil.get_terminal_size((WIDEST, 24)).columns))


def terminal_columns() -> int | None:
    """Characters of a line of the terminal; None where the output goes elsewhere."""
    return shutil.get_terminal_size().columns if sys.stdout.isatty() else None


def wrapped(head: str, text: str, indent: int) -> list[str]:
    """Lines of `text` beside `head`, from column `indent` on, or below it where it is too long.

    A terminal with little room right of `indent` gets all of the text below, a little indented.
    """
    whole = width()
    if whole - indent < NARROWEST:
        indent, beside = 4, False
    else:
        beside = len(head) < indent
    lines = textwrap.wrap(text, whole - indent, break_on_hyphens=False) or [""]
    first = [f"{head:<{indent}}{lines.pop(0)}".rstrip()] if beside else [head]
    return first + [" " * indent + line for line in lines]


def paragraph(text: str) -> list[str]:
    """Lines of `text`."""
    return textwrap.wrap(text, width(), break_on_hyphens=False)
