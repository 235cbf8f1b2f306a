"""A study on the terminal: one table, or a line for each part."""

from __future__ import annotations

import io
import logging

import pytest
from rich.console import Console

from unet3d.scaling.cells import Cell
from unet3d.scaling.progress import StudyProgress

ALONE, TWO = Cell("experiment", 1, 1, 1, 0), Cell("data", 2, 2, 1, 1)


def test_parts_and_their_speed_ups(caplog: pytest.LogCaptureFixture) -> None:
    """Those measured before, the one that runs with its trials, and forecasts where known."""
    caplog.set_level(logging.INFO)
    with StudyProgress([ALONE, TWO], 4, {TWO.name: 75.0}) as progress:
        progress.end(ALONE, 120.0, before=True)
        progress.begin(TWO)
        progress.refresh(TWO, 3)
        running = shown(progress)
        progress.end(TWO, 80.0)
    assert "1 of 2 parts measured" in running and "running" in running and "3/4" in running
    assert "data, repeat 2" in running and "1:15" in running
    assert "1.50" in shown(progress) and "2 of 2 parts measured" in shown(progress)
    assert [record.getMessage() for record in caplog.records] == [
        "scaling: experiment-1-0 measured before: 2:00",
        "scaling: part 2 of 2: data-2-1 begins",
        "scaling: data-2-1 measured: 1:20",
    ]


def test_a_narrow_terminal_has_fewer_columns() -> None:
    """And none of them is cut."""
    progress = StudyProgress([ALONE, TWO], 4, {TWO.name: 75.0})
    progress.end(ALONE, 120.0)
    text = shown(progress, 50)
    assert all(word in text for word in ("experiment", "measured", "2:00", "1.00", "waiting"))
    assert "…" not in text and "forecast" not in text


def shown(progress: StudyProgress, width: int = 120) -> str:
    """The table as text."""
    text = io.StringIO()
    progress.console = Console(file=text, width=width)
    progress.console.print(progress.table())
    return text.getvalue()
