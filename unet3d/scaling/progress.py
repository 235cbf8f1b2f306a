"""The parts of a study on the terminal: a live table, or a line for each where there is none."""

from __future__ import annotations

import logging
import time
from collections.abc import Sequence
from dataclasses import dataclass

from rich import box
from rich.table import Table

from unet3d.progress_bars import LiveDrawing
from unet3d.scaling.cells import Cell
from unet3d.sweep.format import clock

log = logging.getLogger(__name__)
HEADINGS = ("part", "devices", "state", "trials", "time", "forecast", "speed-up")
WIDE = 80  # columns of a terminal for the whole table
COLOURS = {"measured": "green", "running": "cyan"}


@dataclass
class CellRow:
    """What is shown of a cell. seconds: of one that is measured; forecast: None if not known."""

    cell: Cell
    state: str = "waiting"
    seconds: float = 0.0
    ended: int = 0  # trials
    forecast: float | None = None


class StudyProgress(LiveDrawing):
    """A context manager. trials: of each cell; forecasts: seconds by the cell's name."""

    def __init__(self, cells: Sequence[Cell], trials: int, forecasts: dict[str, float]):
        super().__init__()
        self.rows = {cell.name: CellRow(cell, forecast=forecasts.get(cell.name)) for cell in cells}
        self.trials = trials
        self.begun = 0.0

    def begin(self, cell: Cell) -> None:
        """A cell is measured from now on."""
        self.rows[cell.name].state, self.begun = "running", time.monotonic()
        number = list(self.rows).index(cell.name) + 1
        if not self.live.is_started:
            log.info("scaling: part %d of %d: %s begins", number, len(self.rows), cell.name)
        self._draw()

    def refresh(self, cell: Cell, ended: int) -> None:
        """Draw again. ended: trials of the cell."""
        self.rows[cell.name].ended = ended
        self._draw()

    def end(self, cell: Cell, seconds: float, before: bool = False) -> None:
        """A cell is measured, perhaps by an earlier command."""
        row = self.rows[cell.name]
        row.state, row.seconds, row.ended = "measured", seconds, self.trials
        if not self.live.is_started:
            when = " before" if before else ""
            log.info("scaling: %s measured%s: %s", cell.name, when, clock(seconds))
        self._draw()

    def _draw(self) -> None:
        if self.live.is_started:
            self.live.update(self.table())

    def table(self) -> Table:
        """As it is drawn."""
        measured = sum(row.state == "measured" for row in self.rows.values())
        title = f"{measured} of {len(self.rows)} parts measured"
        narrow = self.console.width < WIDE
        left_out = ("trials", "forecast") if narrow else ()
        table = Table(title=title, title_justify="left", box=None if narrow else box.HEAVY_HEAD)
        for heading in HEADINGS:
            if heading not in left_out:
                left = heading == "part"
                table.add_column(heading, justify="left" if left else "right", no_wrap=not left)
        alone = [r.seconds for r in self.rows.values() if r.cell.devices == 1 and r.seconds]
        for row in self.rows.values():
            seconds = row.seconds
            if row.state == "running":
                seconds = time.monotonic() - self.begun
            speedup = alone[0] / row.seconds if alone and row.seconds else None
            cells = (
                f"{row.cell.mode}, repeat {row.cell.repeat + 1}"
                if row.cell.repeat
                else row.cell.mode,
                str(row.cell.devices),
                f"[{COLOURS.get(row.state, 'white')}]{row.state}[/]",
                f"{row.ended}/{self.trials}",
                clock(seconds) if seconds else "",
                "-" if row.forecast is None else clock(row.forecast),
                "" if speedup is None else f"{speedup:.2f}",
            )
            table.add_row(*(c for h, c in zip(HEADINGS, cells, strict=True) if h not in left_out))
        return table
