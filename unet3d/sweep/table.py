"""The trials on the terminal: one live table, or plain lines where there is no terminal."""

from __future__ import annotations

import logging
import time
from dataclasses import dataclass
from types import TracebackType
from typing import Any, Self

from rich.console import Console
from rich.live import Live
from rich.table import Table as RichTable

from unet3d.sweep.trial import Ended, Trial

log = logging.getLogger(__name__)
SUMMARY_SECONDS = 60.0
COLOURS = {"finished": "green", "pruned": "yellow", "failed": "red", "running": "cyan"}


@dataclass
class Row:
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
        """Seconds to the trial's last epoch, from those of this attempt."""
        done = self.epoch - self.first_epoch
        if self.state != "running" or done < 1:
            return None
        return (time.monotonic() - self.started) / done * (self.epochs - self.epoch)


class Table:
    """A context manager. total: of trials, as far as known; at_once: how many run together."""

    def __init__(self, total: int, at_once: int):
        self.total, self.at_once = total, at_once
        self.rows: dict[int, Row] = {}
        self.console = Console()
        self.live = Live(console=self.console, refresh_per_second=4, transient=True)
        self.told = time.monotonic()

    def __enter__(self) -> Self:
        if self.console.is_terminal:
            self.live.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.live.stop()

    def begin(self, trial: Trial, attempt: int, goes_on: bool) -> None:
        """An attempt begins."""
        epoch = self.rows[trial.number].epoch if trial.number in self.rows else 0
        self.rows[trial.number] = Row(
            trial.name, "running", epoch, trial.config.epochs, time.monotonic(), epoch
        )
        how = f", attempt {attempt}" if attempt > 1 else ", goes on" if goes_on else ""
        self._line("trial %d (%s) starts%s", trial.number, trial.name, how)

    def epoch(self, trial: Trial, record: dict[str, Any]) -> None:
        """An epoch has ended."""
        row = self.rows[trial.number]
        row.epoch = record["epoch"]
        row.value = record["metrics"].get("val/dice", row.value)
        if row.value is not None:
            row.best = max(row.value, row.best if row.best is not None else row.value)

    def lost(self, trial: Trial, error: str, attempt: int, retries: int) -> None:
        """An attempt has failed, and there will be another."""
        self.rows[trial.number].state = "waiting"
        log.warning(
            "trial %d (%s) was lost: %s; it starts again from its checkpoint, retry %d of %d",
            trial.number,
            trial.name,
            last_line(error),
            attempt,
            retries,
        )

    def end(self, trial: Trial, ended: Ended, before: bool) -> None:
        """A trial has ended, or had ended before this command."""
        row = self.rows.setdefault(
            trial.number, Row(trial.name, "", 0, trial.config.epochs, time.monotonic(), 0)
        )
        row.state, row.best, row.epoch = ended.state, ended.best, ended.epochs
        row.seconds = ended.seconds
        told = f"val/dice {ended.best:.4f}" if ended.best is not None else "no val/dice"
        when = "already" if before else f"after {clock(ended.seconds)}"
        error = f": {last_line(ended.error)}" if ended.error else ""
        self._line(
            "trial %d (%s) %s %s, %s%s", trial.number, trial.name, ended.state, when, told, error
        )

    def refresh(self) -> None:
        """Draw anew; without a terminal, a line a minute."""
        if self.live.is_started:
            self.live.update(self._render())
        elif time.monotonic() - self.told > SUMMARY_SECONDS:
            self.told = time.monotonic()
            self._line("%s", self.summary())

    def summary(self) -> str:
        """How far the sweep is, in a line."""
        states = [row.state for row in self.rows.values()]
        over = sum(state not in ("running", "waiting") for state in states)
        left = self.time_left()
        eta = f", about {clock(left)} left" if left is not None else ""
        return f"{over} of {self.total} trials ended, {states.count('running')} running{eta}"

    def time_left(self) -> float | None:
        """Seconds to the sweep's end, from the epochs that have ended; None before there are."""
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

    def _render(self) -> RichTable:
        table = RichTable(title=self.summary(), title_justify="left", expand=False)
        for heading in ("trial", "settings", "state", "epoch", "val/dice", "best", "left"):
            table.add_column(heading, justify="left" if heading == "settings" else "right")
        height = max(5, self.console.height - 6)
        order = sorted(self.rows, key=lambda n: (self.rows[n].state != "running", -n))[:height]
        for number in sorted(order):
            row = self.rows[number]
            left = row.left()
            colour = COLOURS.get(row.state, "white")
            table.add_row(
                str(number),
                row.name,
                f"[{colour}]{row.state}[/]",
                f"{row.epoch}/{row.epochs}",
                number_or_dash(row.value),
                number_or_dash(row.best),
                clock(left) if left is not None else "",
            )
        return table


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
