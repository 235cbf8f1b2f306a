"""Text for the width of the terminal; where there is none, for a page of 100 characters."""

from __future__ import annotations

import shutil
import sys
import textwrap
from collections.abc import Collection, Iterator, Sequence

WIDEST = 100
NARROWEST = 30  # below it, words would be cut
LEAST_WORDS = 16  # characters of a column of words in a table, before that becomes a list


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


def print_table(
    headings: Sequence[str],
    rows: Sequence[Sequence[str]],
    words: Collection[str] = (),
    page: int = WIDEST,
) -> None:
    """Print rows as a table; where the terminal is too narrow for it, as a list with all of it.

    words: headings of the columns that may take several lines. page: characters of a line where
    there is no terminal.
    """
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    console = Console()
    if not console.is_terminal:
        console = Console(width=page)
    if _least_width(headings, rows, words) > console.width:
        for line in _as_list(headings, rows, console.width):
            print(line)
        return
    table = Table()
    for heading in headings:
        of_words = heading in words
        table.add_column(
            heading,
            overflow="fold",
            justify="left" if of_words else "right",
            no_wrap=not of_words,
        )
    for row in rows:
        table.add_row(*map(Text, row))  # brackets in it are no markup
    console.print(table)


def _least_width(
    headings: Sequence[str], rows: Sequence[Sequence[str]], words: Collection[str]
) -> int:
    """Characters that a table needs, with its lines."""
    widths = [max(map(len, column)) for column in zip(headings, *rows, strict=True)]
    least = (
        min(width, LEAST_WORDS) if heading in words else width
        for heading, width in zip(headings, widths, strict=True)
    )
    return sum(least) + 3 * len(widths) + 1


def _as_list(headings: Sequence[str], rows: Sequence[Sequence[str]], columns: int) -> Iterator[str]:
    """Each row as its first two cells, and below them the others, by name."""
    for row in rows:
        first, *rest = (
            f"{h} {cell}".strip() for h, cell in zip(headings, row, strict=True) if cell
        )
        text = f"{first}: {rest[0]}" if rest else first
        yield from textwrap.wrap(text, columns, subsequent_indent="  ", break_on_hyphens=False)
        yield from textwrap.wrap(
            ", ".join(rest[1:]),
            columns,
            initial_indent="    ",
            subsequent_indent="    ",
            break_on_hyphens=False,
        )
