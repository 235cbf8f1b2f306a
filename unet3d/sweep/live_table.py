"""The trials on the terminal: one live table, or plain lines where there is no terminal."""

from __future__ import annotations

import logging
import time
from dataclasses import dataclass
from typing import Any

from rich import box
from rich.console import Group
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from unet3d.progress_bars import LiveDrawing
from unet3d.sweep.format import clock, last_line, number_or_dash
from unet3d.sweep.trial import Trial, TrialResult

log = logging.getLogger(__name__)
SUMMARY_SECONDS = 60.0
WIDE = 90  # columns of a terminal for the whole table
BESIDE = 34  # columns beside the settings on a narrower one
COLOURS = {"finished": "green", "pruned": "yellow", "failed": "red", "running": "cyan"}


@dataclass
class TrialRow:
    """What is shown of a trial."""

    name: str
    state: str
    epoch: int
    epochs: int
    started: float
    first_epoch: int  # of this attempt, for the time left
    value: float | None = None
    best: float | None = None
    seconds: float = 0.0

    def left(self) -> float | None:
        """Seconds to the trial's last epoch, at the pace of this attempt; None if not known."""
        done = self.epoch - self.first_epoch
        if self.state != "running" or done < 1:
            return None
        return (time.monotonic() - self.started) / done * (self.epochs - self.epoch)


class LiveTable(LiveDrawing):
    """A context manager. total: number of trials; at_once: how many of them run together."""

    def __init__(self, total: int, at_once: int):
        super().__init__()
        self.total, self.at_once = total, at_once
        self.rows: dict[int, TrialRow] = {}
        self.summarised = time.monotonic()
        self.first_begun = self.last_ended = 0.0  # of all trials; 0 before

    @property
    def trial_seconds(self) -> float:
        """From the start of the first trial to the end of the last."""
        return self.last_ended - self.first_begun

    def begin(
        self,
        trial: Trial,
        attempt: int,
        resumed: bool,
        devices: tuple[int, int] | None = None,
    ) -> None:
        """An attempt begins. devices: of the trial before and now, where it has been regrouped."""
        self.first_begun = self.first_begun or time.monotonic()
        epoch = self.rows[trial.number].epoch if trial.number in self.rows else 0
        self.rows[trial.number] = TrialRow(
            trial.name, "running", epoch, trial.config.last_epoch, time.monotonic(), epoch
        )
        if devices and epoch:
            text = "trial %d (%s) regrouped after epoch %d: %d -> %d devices"
            self._line(text, trial.number, trial.name, epoch, *devices)
            return
        how = f", attempt {attempt}" if attempt > 1 else ", resumed" if resumed else ""
        self._line("trial %d (%s) starts%s", trial.number, trial.name, how)

    def epoch(self, trial: Trial, record: dict[str, Any]) -> None:
        """An epoch has ended."""
        row = self.rows[trial.number]
        row.epoch = record["epoch"]
        row.value = record["metrics"].get("val/dice", row.value)
        if row.value is not None:
            row.best = max(row.value, row.best if row.best is not None else row.value)

    def lost(self, trial: Trial, error: str, how: str) -> None:
        """An attempt has failed, and there will be another; how: as which of how many."""
        self.rows[trial.number].state = "waiting"
        log.warning(
            "trial %d (%s) was lost: %s; it starts again from its checkpoint, %s",
            trial.number,
            trial.name,
            last_line(error),
            how,
        )

    def end(self, trial: Trial, result: TrialResult, before: bool) -> None:
        """A trial has ended, or had ended before this command."""
        self.last_ended = time.monotonic()
        row = self.rows.setdefault(
            trial.number, TrialRow(trial.name, "", 0, trial.config.last_epoch, time.monotonic(), 0)
        )
        row.state, row.best, row.epoch = result.state, result.best, result.epochs
        row.seconds = result.seconds
        best = f"val/dice {result.best:.4f}" if result.best is not None else "no val/dice"
        when = "already" if before else f"after {clock(result.seconds)}"
        error = f": {last_line(result.error)}" if result.error else ""
        self._line(
            "trial %d (%s) %s %s, %s%s", trial.number, trial.name, result.state, when, best, error
        )

    def refresh(self) -> None:
        """Draw again; without a terminal, a line each minute."""
        if self.live.is_started:
            self.live.update(self._render())
        elif time.monotonic() - self.summarised > SUMMARY_SECONDS:
            self.summarised = time.monotonic()
            self._line("%s", self.summary())

    def summary(self) -> str:
        """How far the sweep has come, in a line."""
        states = [row.state for row in self.rows.values()]
        over = sum(state not in ("running", "waiting") for state in states)
        left = self.time_left()
        eta = f", about {clock(left)} left" if left is not None else ""
        return f"{over} of {self.total} trials ended, {states.count('running')} running{eta}"

    def time_left(self) -> float | None:
        """Seconds to the sweep's end, from the epochs that have ended; None before the first."""
        lefts = [left for row in self.rows.values() if (left := row.left()) is not None]
        lengths = [row.seconds for row in self.rows.values() if row.seconds]
        lengths += [
            time.monotonic() - row.started + (row.left() or 0)
            for row in self.rows.values()
            if row.left() is not None
        ]
        if not lengths:
            return None
        waiting = self.total - sum(row.state != "waiting" for row in self.rows.values())
        return (sum(lefts) + max(0, waiting) * sum(lengths) / len(lengths)) / self.at_once

    def _line(self, text: str, *values: Any) -> None:
        if not self.live.is_started:
            log.info(text, *values)

    def _bar(self) -> ProgressBar:
        """Epochs that have ended, of those of all trials; ended trials count whole."""
        whole = [row.epochs for row in self.rows.values()]
        mean = sum(whole) / len(whole) if whole else 1.0
        over = [
            row.epoch if row.state in ("running", "waiting") else row.epochs
            for row in self.rows.values()
        ]
        total = sum(whole) + mean * (self.total - len(whole))
        return ProgressBar(total=total, completed=sum(over), width=min(60, self.console.width))

    def _render(self) -> Group:
        """A narrow terminal has fewer columns, no lines between them, and settings over lines."""
        width = self.console.width
        narrow = width < WIDE
        table = Table(
            title=self.summary(),
            title_justify="left",
            expand=False,
            box=None if narrow else box.HEAVY_HEAD,
            pad_edge=not narrow,
        )
        for heading in ("trial", "settings", "state", "epoch", "val/dice", "best", "left"):
            if heading == "settings":
                table.add_column(heading, overflow="fold")
            elif not (narrow and heading in ("val/dice", "left")):
                table.add_column(heading, justify="right", no_wrap=True)
        for number in self._shown(max(8, width - BESIDE) if narrow else width):
            row = self.rows[number]
            left = row.left()
            name = row.name.replace(",", ", ") if narrow else row.name  # lines end at spaces
            cells: list[str | Text] = [
                str(number),
                Text(name),  # brackets in it are no markup
                Text(row.state, COLOURS.get(row.state, "white")),
                f"{row.epoch}/{row.epochs}",
                number_or_dash(row.value),
                number_or_dash(row.best),
                clock(left) if left is not None else "",
            ]
            table.add_row(*(cells[:4] + cells[5:6] if narrow else cells))
        return Group(table, self._bar())

    def _shown(self, width: int) -> list[int]:
        """The trials that fit the terminal's height: those that run, then the latest.

        width: columns of their settings.
        """
        left = max(5, self.console.height - 6)
        shown = []
        for number in sorted(self.rows, key=lambda n: (self.rows[n].state != "running", -n)):
            left -= max(1, -(-len(self.rows[number].name) // width))
            if left < 0:
                break
            shown.append(number)
        return sorted(shown)
