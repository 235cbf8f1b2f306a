"""The trials of a sweep as they ended, best first: for the terminal, MLflow's note, the report."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import quote

from unet3d.config import AUTO
from unet3d.parallel.place import read_word
from unet3d.sweep.folder import best_epoch, read_ended, read_epochs
from unet3d.sweep.table import clock, last_line, number_or_dash
from unet3d.sweep.trial import Ended


@dataclass(frozen=True)
class Result:
    """One trial of a sweep's folder. epochs: records {epoch, time, metrics}."""

    number: int
    name: str
    differs: dict[str, str]
    command: str
    ended: Ended
    epochs: list[dict[str, Any]]


def read_results(path: Path) -> list[Result]:
    """All trials that a sweep's folder knows of, the best val/dice first."""
    results = []
    for folder in (path / "trials").glob("*"):
        word = read_word(folder / "trial.json")
        if word is None:
            continue
        told, epochs = json.loads(word), read_epochs(folder)
        best, at = best_epoch(epochs)
        ended = read_ended(folder) or Ended(
            "open", best, at, len(epochs), run_id=read_word(folder / "run_id") or ""
        )
        command = _with_patch(told["command"], path.parents[1] / "runs" / ended.run_id)
        results.append(
            Result(told["number"], told["name"], told["differs"], command, ended, epochs)
        )
    return sorted(results, key=lambda r: (r.ended.best is None, -(r.ended.best or 0), r.number))


def _with_patch(command: str, run: Path) -> str:
    """The command with what data.patch=auto was on the trial's share; alone it would have more."""
    word = f"data.patch={AUTO}"
    if word not in command.split() or not (run / "config.yaml").is_file():
        return command
    from unet3d.training.resume import stored_config

    sizes = ",".join(str(size) for size in stored_config(run / "config.yaml").data.patch)
    return command.replace(word, f"'data.patch=[{sizes}]'")


def counted(ended: Iterable[Ended]) -> dict[str, int]:
    """How many ended in each way."""
    return dict(Counter(one.state for one in ended))


def print_results(results: list[Result]) -> None:
    """The table on the terminal."""
    from rich.console import Console
    from rich.table import Table

    table = Table(expand=False)
    for heading in ("trial", "settings", "state", "val/dice", "best epoch", "time", "tries", "run"):
        table.add_column(
            heading,
            overflow="fold",
            justify="left" if heading in ("settings", "run") else "right",
            no_wrap=heading != "settings",
        )
    for result in results:
        ended = result.ended
        table.add_row(
            str(result.number),
            result.name,
            ended.state,
            number_or_dash(ended.best),
            f"{ended.best_epoch} of {ended.epochs}",
            clock(ended.seconds),
            str(ended.attempts),
            ended.run_id[:8],
        )
    console = Console()
    if not console.is_terminal:
        console = Console(width=120)  # a log file has no width of its own
    console.print(table)
    for result in results:
        if result.ended.error:
            console.print(
                f"trial {result.number} ({result.name}): {last_line(result.ended.error)}",
                soft_wrap=True,
                highlight=False,
                markup=False,
            )
    if results and results[0].ended.best is not None:
        console.print(f"best: {results[0].command}", soft_wrap=True, highlight=False, markup=False)


def note(results: list[Result], experiment: str) -> str:
    """The table in Markdown, for the page of the parent run in MLflow's `experiment`."""
    ids = json.dumps([result.ended.run_id for result in results if result.ended.run_id])
    compare = f"#/compare-runs?runs={quote(ids)}&experiments={quote(json.dumps([experiment]))}"
    lines = [f"[Compare all trials]({compare})", ""]
    lines += ["| trial | settings | state | val/dice | best epoch |", "|---|---|---|---|---|"]
    for result in results:
        ended = result.ended
        lines.append(
            f"| {result.number} | {result.name} | {ended.state} | {number_or_dash(ended.best)} | "
            f"{ended.best_epoch} of {ended.epochs} |"
        )
    if results and results[0].ended.best is not None:
        lines += ["", "Best:", "```", results[0].command, "```"]
    return "\n".join(lines)
