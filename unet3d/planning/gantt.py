"""Trials on devices over time, as blocks of characters for a terminal."""

from __future__ import annotations

from collections.abc import Sequence

from unet3d.planning.simulated import TRAIN, Outcome

MARKS = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"
RESTARTING, IDLE = "·", " "
MOST_ROWS = 16


def text_gantt(outcome: Outcome, width: int = 60) -> list[str]:
    """A line for each device, or for each of as many groups of devices as are shown.

    A block's letter is its trial, a dot its start; of a group the first device is shown.
    """
    rows = min(outcome.devices, MOST_ROWS)
    shown = [index * outcome.devices // rows for index in range(rows)]
    lines = []
    for device in shown:
        cells = [IDLE] * width
        for segment in outcome.segments:
            if device in segment.devices and outcome.makespan:
                first = int(segment.start / outcome.makespan * width)
                last = max(first + 1, round(segment.end / outcome.makespan * width))
                mark = MARKS[segment.trial % len(MARKS)] if segment.kind == TRAIN else RESTARTING
                for cell in range(first, min(last, width)):
                    cells[cell] = mark
        lines.append(f"{device:>5} |{''.join(cells)}|")
    if rows < outcome.devices:
        lines.append(f"      {rows} of {outcome.devices} devices are shown")
    return lines


def clock(seconds: float) -> str:
    """12 min, 3.4 h or 2.1 days."""
    for unit, size in (("days", 86400.0), ("h", 3600.0), ("min", 60.0)):
        if seconds >= 2 * size:
            return f"{seconds / size:.3g} {unit}"
    return f"{seconds:.3g} s"


def table(rows: Sequence[Sequence[str]]) -> list[str]:
    """Columns of equal width, numbers to the right."""
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    return [
        "  ".join(
            cell.ljust(width) if index == 0 else cell.rjust(width)
            for index, (cell, width) in enumerate(zip(row, widths, strict=True))
        )
        for row in rows
    ]
