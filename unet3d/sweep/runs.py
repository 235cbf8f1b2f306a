"""`unet3d runs`: the runs and sweeps of a folder, and those whose process ended without a word."""

from __future__ import annotations

import logging
import time
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from unet3d.config.schema import Config, RunsConfig
from unet3d.distributed.run_state import KILLED, RUNNING, State, read_state
from unet3d.distributed.writer import end_for
from unet3d.errors import RunError
from unet3d.files import read_text
from unet3d.run_folder import RunFolder
from unet3d.sweep.sweep_folder import SWEEP, SweepFolder, best_epoch
from unet3d.terminal import terminal_columns
from unet3d.tracking.runs import Ending, close_in_store, running_runs, statuses, store_of

log = logging.getLogger(__name__)
UNWRITTEN_SECONDS = 24 * 3600.0  # after which a run of an earlier version counts as ended
HEADINGS = ("run, sweep or study", "state", "best val/dice", "epochs", "last written", "name")
UNITS = (("d", 86400), ("h", 3600), ("min", 60), ("s", 1))


@dataclass(frozen=True)
class Listed:
    """A run, a sweep or a study. run_id: in MLflow, "" for none; written: when it last was.

    unclear: what a folder is that is none of these.
    """

    id: str
    state_file: Path
    run_id: str
    best: float | None
    progress: str
    written: float
    name: str
    state: State | None = field(default=None)
    unclear: str = ""

    def ended(self, now: float, open_in_store: bool) -> bool:
        """Whether its process has ended without closing it."""
        if self.state is not None:
            return self.state.status == RUNNING and not self.state.alive(now)
        return open_in_store and now - self.written > UNWRITTEN_SECONDS

    def shown_state(self, now: float, open_in_store: bool, in_store: str) -> str:
        """For the table. in_store: the status of a run that was fetched, or is of long ago."""
        if self.unclear:
            return self.unclear
        if self.ended(now, open_in_store):
            cause = f": {self.state.cause}" if self.state and self.state.cause else ""
            return f"RUNNING, but its process ended {ago(now - self.written)} ago{cause}"
        if self.state is None:
            return RUNNING if open_in_store else in_store
        if self.state.status != RUNNING and open_in_store:
            return f"{self.state.status}, but RUNNING in the tracking store"
        return self.state.status


def runs(config: Config, settings: RunsConfig) -> None:
    """Print the table; with close=true first close what has ended, in folder and tracking store."""
    store = store_of(config)
    open_in_store = running_runs(store) if store else set()
    output_dir = Path(config.output_dir)
    listed = [*_studies(output_dir), *_sweeps(output_dir), *_runs(output_dir)]
    now = time.time()
    dead = [one for one in listed if one.ended(now, one.run_id in open_in_store)]
    left = [
        one
        for one in listed
        if one.state and one.state.status != RUNNING and one.run_id in open_in_store
    ]
    if settings.close:
        for one in dead:
            close(one, now, store if one.run_id in open_in_store else None)
        for one in left if store else ():
            assert one.state is not None and store is not None
            ended = one.state.ended or one.written
            close_in_store(store, Ending(one.run_id, one.state.status, one.state.reason, ended))
        log.info("%d closed", len(dead) + len(left))
        return
    without = [one.run_id for one in listed if one.state is None and one.run_id and not one.unclear]
    in_store = statuses(store, without) if store else {}
    rows = [
        _row(one, now, one.run_id in open_in_store, in_store.get(one.run_id, "unknown"))
        for one in listed
    ]
    print(
        table([HEADINGS, *rows], terminal_columns()) if rows else f"no runs in {config.output_dir}"
    )
    if dead or left:
        print(f"\n{len(dead) + len(left)} have ended without being closed; unet3d runs close=true")


def close(one: Listed, now: float, store: Any) -> bool:
    """Close a run or sweep whose process has ended; False where another process has resumed it."""
    state = one.state
    who = f"pid {state.pid} on host {state.host}" if state else "of an earlier version"
    cause = f"; {state.cause}" if state and state.cause else ""
    reason = f"its process, {who}, ended without a word about {ago(now - one.written)} ago{cause}"
    if not end_for(one.state_file, KILLED, reason, one.written):
        return False
    if store is not None and one.run_id:
        close_in_store(store, Ending(one.run_id, KILLED, reason, one.written))
    log.info("%s: closed as %s; %s", one.id, KILLED, reason)
    return True


def close_trials(config: Config, folder: SweepFolder) -> None:
    """Close the runs of a sweep's trials that a killed command left open; they may resume later."""
    ids = {trial.result.run_id for trial in folder.trials() if trial.result.run_id}
    paths = [Path(config.output_dir) / "runs" / run_id for run_id in sorted(ids)]
    now = time.time()
    open_runs = [path for path in paths if _is_open(path)]  # of a thousand that have ended, quickly
    dead = [one for one in map(_run, open_runs) if one.state and one.ended(now, False)]
    store = store_of(config) if dead else None
    for one in dead:
        close(one, now, store)


def _is_open(path: Path) -> bool:
    state = read_state(RunFolder(path).state)
    return state is not None and state.status == RUNNING


def _runs(output_dir: Path) -> list[Listed]:
    paths = [path for path in (output_dir / "runs").glob("[!.]*") if path.is_dir()]
    listed = []
    for path in paths:
        config = RunFolder(path).config
        listed.append(_run(path) if config.exists() else _unclear(path, config.name))
    return sorted(listed, key=lambda one: one.written)


def _unclear(path: Path, missing: str) -> Listed:
    """A folder among runs or sweeps that lacks the file that every one of them has."""
    what = f"no {missing}: " + (
        "its start was interrupted" if any(path.iterdir()) else "an empty folder"
    )
    written = path.stat().st_mtime
    state = path / "state.json"
    return Listed(path.name, state, "", None, "", written, name="", unclear=what)


def _studies(output_dir: Path) -> list[Listed]:
    """Those of `unet3d scaling`; while one runs, so does a sweep of its own."""
    found = []
    for path in sorted((output_dir / "scaling").glob("*/study.json")):
        cells = [*path.parent.glob("cells/*.json")]
        results = path.parent / "results.json"
        found.append(
            Listed(
                id=path.parent.name,
                state_file=path.parent / "state.json",
                run_id="",
                best=None,
                progress=f"{len(cells)} parts measured",
                written=_written(None, (path, results, *cells)),
                name="study",
                unclear="FINISHED" if results.is_file() else "not finished; its command goes on",
            )
        )
    return found


def _loader() -> Any:
    """YAML's reader in C, ten times as fast, where it was built."""
    import yaml

    return getattr(yaml, "CSafeLoader", yaml.SafeLoader)


def _run(path: Path) -> Listed:
    import yaml

    from unet3d.training.checkpoint import read_progress

    folder = RunFolder(path)
    state = read_state(folder.state)
    try:
        settings: dict[str, Any] = yaml.load(read_text(folder.config) or "", _loader()) or {}
    except yaml.YAMLError:
        settings = {}
    best, epochs = None, 0
    try:
        progress = read_progress(folder)
        best, epochs = progress.best, len(progress.history)
    except RunError:  # none yet
        pass
    name = (settings.get("tracking") or {}).get("run_name") or ""
    return Listed(
        id=folder.run_id,
        state_file=folder.state,
        run_id=folder.run_id,
        best=best,
        progress=f"{epochs}/{(state and state.epochs) or settings.get('epochs', '?')}",
        written=_written(state, (folder.log, folder.last_checkpoint, folder.config)),
        name=str(name),
        state=state,
    )


def _sweeps(output_dir: Path) -> list[Listed]:
    found = []
    for place in sorted((output_dir / "sweeps").glob("[!.]*")):
        path, folder = place / SWEEP, SweepFolder(place)
        if not path.is_file():
            if place.is_dir() and not any(place.glob("*forecast.json")):  # of a dry run alone
                found.append(_unclear(place, SWEEP))
            continue
        state, trials = read_state(folder.state), folder.trials()
        counts = Counter(trial.result.state for trial in trials)
        best, _ = best_epoch(
            [{"epoch": 0, "metrics": {"val/dice": t.result.best}} for t in trials if t.result.best]
        )
        found.append(
            Listed(
                id=folder.path.name,
                state_file=folder.state,
                run_id=folder.facts().run_id or "",
                best=best,
                progress=", ".join(f"{n} {kind}" for kind, n in counts.items()) or "0",
                written=_written(state, (path, *folder.path.glob("trials/*/epochs"))),
                name="sweep",
                state=state,
            )
        )
    return found


def _written(state: State | None, paths: Iterable[Path]) -> float:
    """When the process last gave a sign of life; of an earlier version, wrote one of its files."""
    if state is not None:
        return state.ended or state.beat
    return max((path.stat().st_mtime for path in paths if path.exists()), default=0.0)


def _row(one: Listed, now: float, open_in_store: bool, in_store: str) -> tuple[str, ...]:
    return (
        one.id,
        one.shown_state(now, open_in_store, in_store),
        "" if one.best is None else f"{one.best:.4f}",
        one.progress,
        f"{ago(now - one.written)} ago",
        one.name,
    )


def table(rows: Sequence[Sequence[str]], columns: int | None = None) -> str:
    """Columns of equal width, whole, as ids are there to be copied.

    The first row is the headings. columns: of the terminal; a wider table becomes a list.
    """
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    if columns is not None and sum(widths) + 2 * (len(widths) - 1) > columns:
        return "\n".join(_as_list(rows))
    return "\n".join(
        "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip()
        for row in rows
    )


def _as_list(rows: Sequence[Sequence[str]]) -> Iterator[str]:
    """Each row as its first cell, and below it a line for each other one that is not empty."""
    headings, *entries = rows
    for first, *rest in entries:
        yield first
        yield from (f"  {h}: {c}" for h, c in zip(headings[1:], rest, strict=True) if c)


def ago(seconds: float) -> str:
    """A duration in its largest unit: 3 h."""
    for unit, size in UNITS:
        if seconds >= size:
            return f"{seconds // size:.0f} {unit}"
    return "0 s"
