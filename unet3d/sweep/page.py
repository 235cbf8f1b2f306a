"""The page of a sweep: one HTML file with its pictures inside, which needs no network."""

from __future__ import annotations

import base64
from collections.abc import Sequence
from dataclasses import dataclass
from html import escape
from pathlib import Path

from unet3d.html import document
from unet3d.sweep.page_style import SCRIPT, STYLE
from unet3d.sweep.parameters import MISSING, best_of, parameter_names, shown_name
from unet3d.sweep.results import Result, counted
from unet3d.sweep.table import clock, last_line, number_or_dash
from unet3d.sweep.trial import shown

STATES = ("finished", "pruned", "stopped", "failed", "open")
ERROR_LENGTH = 160


@dataclass(frozen=True)
class Picture:
    """A PNG of the page; where `reason` is given, the sentence that stands in its place."""

    heading: str
    caption: str
    path: Path
    reason: str = ""


@dataclass(frozen=True)
class Cell:
    """A cell of the table. key: what it is sorted by, where that is not its text."""

    text: str
    key: str = ""
    kind: str = ""  # of CSS
    title: str = ""


def page(name: str, command: str, results: Sequence[Result], pictures: Sequence[Picture]) -> str:
    """The HTML of a sweep; results: the best first."""
    sections = [_best(results), _section("Trials", _table(results))]
    sections += [_section(picture.heading, _picture(picture)) for picture in pictures]
    body = "\n".join(sections)
    typed = f"<pre><code>{escape(command)}</code></pre>" if command else ""
    head = f"{typed}\n<p>{_counts(results)}</p>"
    content = f"<main>\n{body}\n</main>\n<script>{SCRIPT}</script>"
    return document(f"Sweep {escape(name)}", STYLE, head, content)


def _section(heading: str, content: str) -> str:
    return f"<section>\n<h2>{escape(heading)}</h2>\n{content}\n</section>"


def _counts(results: Sequence[Result]) -> str:
    """2 trials: 1 finished, 1 failed."""
    counts = counted(result.ended for result in results)
    order = [*STATES, *sorted(set(counts) - set(STATES))]
    told = [
        f'<span class="state {escape(state)}">{counts[state]} {escape(state)}</span>'
        for state in order
        if state in counts
    ]
    trials = "1 trial" if len(results) == 1 else f"{len(results)} trials"
    return f"{trials}: {', '.join(told)}" if told else "No trial has begun."


def _best(results: Sequence[Result]) -> str:
    if not results or best_of(results[0]) is None:
        return _section("Best trial", "<p>No trial has a val/dice yet.</p>")
    best = results[0]
    ended = best.ended
    run = f", run <code>{escape(ended.run_id)}</code>" if ended.run_id else ""
    state = "" if ended.state == "finished" else f" ({escape(ended.state)})"
    return _section(
        "Best trial",
        f"<p>Trial {best.number}, {escape(shown_name(best))}: val/dice "
        f"<strong>{number_or_dash(ended.best)}</strong> at epoch {ended.best_epoch} of "
        f"{ended.epochs}{state}{run}. This trains it alone:</p>\n"
        f'<pre class="copied"><code>{escape(best.command)}</code></pre>',
    )


def _table(results: Sequence[Result]) -> str:
    if not results:
        return "<p>There are none.</p>"
    names = parameter_names(results)
    headings = ["trial", *names, "state", "best val/dice", "best epoch", "epochs", "time"]
    headings += ["attempts", "run id", "error"]
    broken = [escape(heading).replace(".", ".<wbr>") for heading in headings]
    head = "".join(f'<th scope="col">{heading}</th>' for heading in broken)
    rows = "\n".join(f"<tr>{''.join(map(_cell, _row(r, names)))}</tr>" for r in results)
    return (
        '<div class="wide" tabindex="0" role="region" aria-label="Trials">\n<table>\n'
        f"<thead><tr>{head}</tr></thead>\n<tbody>\n{rows}\n</tbody>\n</table>\n</div>"
    )


def _row(result: Result, names: Sequence[str]) -> list[Cell]:
    ended, best = result.ended, best_of(result)
    error = last_line(ended.error)
    short = error if len(error) <= ERROR_LENGTH else f"{error[: ERROR_LENGTH - 1]}…"
    return [
        Cell(str(result.number), kind="n"),
        *(_value(result.differs.get(name, MISSING)) for name in names),
        Cell(ended.state, kind=f"state {ended.state}"),
        Cell(number_or_dash(best), key=MISSING if best is None else repr(best), kind="n"),
        Cell(str(ended.best_epoch) if best is not None else MISSING, kind="n"),
        Cell(str(ended.epochs), kind="n"),
        Cell(clock(ended.seconds), key=repr(ended.seconds), kind="n"),
        Cell(str(ended.attempts), kind="n"),
        Cell(ended.run_id[:8], key=ended.run_id, kind="id", title=ended.run_id),
        Cell(short, kind="error", title=error if short != error else ""),
    ]


def _value(value: str) -> Cell:
    short = shown(value)
    return Cell(short) if short == value else Cell(short, key=value, title=value)


def _cell(cell: Cell) -> str:
    named = (("class", cell.kind), ("data-key", cell.key), ("title", cell.title))
    attributes = "".join(f' {key}="{escape(value)}"' for key, value in named if value)
    return f"<td{attributes}>{escape(cell.text)}</td>"


def _picture(picture: Picture) -> str:
    if picture.reason:
        return f"<p>Left out: {escape(picture.reason)}</p>"
    encoded = base64.b64encode(picture.path.read_bytes()).decode("ascii")
    return (
        f'<figure><img alt="{escape(picture.heading)}" src="data:image/png;base64,{encoded}">'
        f"<figcaption>{escape(picture.caption)}</figcaption></figure>"
    )
