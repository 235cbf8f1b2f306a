"""The table of a sweep's trials on terminals of several sizes."""

from __future__ import annotations

import time
from io import StringIO

import pytest
from rich.console import Console

from unet3d.sweep.live_table import LiveTable, TrialRow


def drawn(width: int, height: int = 24, trials: int = 4) -> str:
    """The table as text; trial 0 runs, the others have ended."""
    table = LiveTable(12, 2)
    for number in range(trials):
        state = "finished" if number else "running"
        name = f"data.patch=[{16 + number},a],optimizer.learning_rate=1e-{number}"
        table.rows[number] = TrialRow(name, state, 3, 6, time.monotonic() - 30, 0, 0.5, 0.6125)
    table.console = Console(width=width, height=height, file=StringIO(), force_terminal=False)
    table.console.print(table._render())
    text = table.console.file.getvalue()  # type: ignore[attr-defined]
    assert max(len(line) for line in text.splitlines()) <= width
    return str(text)


def test_a_wide_terminal_has_all_columns() -> None:
    """Settings are text, not rich's markup."""
    text = drawn(120)
    assert "data.patch=[17,a],optimizer.learning_rate=1e-1" in text
    assert all(heading in text for heading in ("val/dice", "best", "left", "3/6", "0.6125"))
    assert "3 of 12 trials ended, 1 running" in text


@pytest.mark.parametrize("width", [40, 60, 80])
def test_a_narrow_terminal_cuts_no_state_and_no_value(width: int) -> None:
    """Settings go over lines, each of them whole."""
    text = drawn(width)
    assert all(word in text for word in ("running", "finished", "3/6", "0.6125"))
    assert "…" not in text
    assert width == 40 or "data.patch=[16, a]," in text


def test_a_low_terminal_shows_what_runs() -> None:
    """The trial that runs, and the latest of the others."""
    text = drawn(120, height=13, trials=12)
    assert "[16,a]" in text and "[27,a]" in text and "[17,a]" not in text
