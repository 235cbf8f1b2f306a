"""Numbers, times and errors as the table, the report and the names of trials show them."""

from __future__ import annotations

import math

TYPED = 8  # characters of a number; a longer one was not typed by hand


def number(text: str) -> float | None:
    """The finite number that a text is, None for any other."""
    try:
        value = float(text)
    except ValueError:
        return None
    return value if math.isfinite(value) else None


def shown(value: str) -> str:
    """A value to be read: four digits of a number that a search has drawn, others as typed."""
    size = number(value)
    return value if size is None or len(value) <= TYPED else f"{size:.4g}"


def number_or_dash(value: float | None) -> str:
    """Four digits of a Dice."""
    return "-" if value is None else f"{value:.4f}"


def clock(seconds: float) -> str:
    """2:05 for 125 seconds, 1:02:05 above an hour."""
    minutes, rest = divmod(int(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02d}:{rest:02d}" if hours else f"{minutes}:{rest:02d}"


def last_line(error: str) -> str:
    """The line of a traceback that says what went wrong."""
    lines = [line.strip() for line in error.splitlines() if line.strip()]
    return lines[-1] if lines else ""
