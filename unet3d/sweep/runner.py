"""The one loop of a sweep: give trials to workers, follow them, try lost ones again, keep all."""

from __future__ import annotations

import logging
import os
import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from unet3d.config import Config
from unet3d.parallel.place import EARLY
from unet3d.sweep.folder import SweepFolder, best_epoch
from unet3d.sweep.pool import Pool
from unet3d.sweep.source import Source
from unet3d.sweep.table import Table
from unet3d.sweep.trial import Ended, Trial
from unet3d.sweep.worker import Report, Task
from unet3d.training.stop import StopRequest

log = logging.getLogger(__name__)
POLL_SECONDS = 0.3


@dataclass
class Running:
    """A trial that has begun. twins: trials of the same settings, which share its result."""

    trial: Trial
    attempt: int = 1
    seconds: float = 0.0  # of former attempts
    started: float = field(default_factory=time.monotonic)
    judged: int = 0  # the last epoch that was
    read: int = 0  # bytes of its epochs that were
    given_up: bool = False
    told_to_stop: bool = False
    twins: list[Trial] = field(default_factory=list)


@dataclass
class Sweep:
    """All that the loop works with. prepare: makes a trial's settings those of its run;
    record_failure: closes the run of a trial that failed, given its id if it has one."""

    source: Source
    folder: SweepFolder
    pool: Pool
    table: Table
    stop: StopRequest
    retries: int
    local: bool
    prepare: Callable[[Trial, str | None], Config]
    record_failure: Callable[[Trial, str | None, str], str]
    running: dict[Any, Running] = field(default_factory=dict)  # by the reference of its report
    again: deque[Running] = field(default_factory=deque)  # to be tried again
    ended: dict[int, Ended] = field(default_factory=dict)  # by the trial's number


def run_trials(sweep: Sweep) -> dict[int, Ended]:
    """Run all trials of the source; returns how each ended.

    A signal has the running trials save and stop; the rest stay for the same command later.
    """
    while True:
        if sweep.stop.asked:
            _ask_all_to_stop(sweep)
        else:
            _fill(sweep)
        if not sweep.running and (sweep.stop.asked or not (sweep.again or _next(sweep))):
            return sweep.ended
        for reference, report in sweep.pool.wait(POLL_SECONDS):
            _ended(sweep, sweep.running.pop(reference), report)
        for running in sweep.running.values():
            _follow(sweep, running)
        sweep.table.refresh()


def _fill(sweep: Sweep) -> None:
    """A trial for each idle worker, as long as there are any."""
    while sweep.pool.idle:
        if not sweep.again and not _next(sweep):
            return
        _start(sweep, sweep.again.popleft())


def _next(sweep: Sweep) -> bool:
    """Queue the source's next trial that is not over already; False after the last."""
    while (trial := sweep.source.next()) is not None:
        before = sweep.folder.ended(trial)
        twin = next((r for r in sweep.running.values() if r.trial.key == trial.key), None)
        if before is not None and before.over:
            _close(sweep, trial, before, again=True)
        elif twin is not None:
            twin.twins.append(trial)
        else:
            spent = before.seconds if before is not None and before.state == "stopped" else 0.0
            sweep.again.append(Running(trial, seconds=spent))
            return True
    return False


def _start(sweep: Sweep, running: Running) -> None:
    """Give the trial to an idle worker; it goes on where an earlier attempt or command stopped."""
    trial = running.trial
    folder = sweep.folder.open(trial)
    run_id = sweep.folder.run_id(trial)
    running.started = time.monotonic()
    task = Task(
        config=sweep.prepare(trial, run_id),
        folder=folder,
        restarts=running.attempt if run_id else running.attempt - 1,
        threads=sweep.pool.share.cpus,
        gang=sweep.pool.share.gang,
        local=sweep.local,
        environment={k: v for k, v in os.environ.items() if k.startswith("MLFLOW_")},
    )
    sweep.running[sweep.pool.submit(task)] = running
    sweep.table.begin(trial, running.attempt, bool(run_id))


def _follow(sweep: Sweep, running: Running) -> None:
    """Show the epochs that a trial has told since, and have it judged by them."""
    size = sweep.folder.epochs_size(running.trial)
    if size == running.read:  # asked several times a second, of every trial
        return
    running.read = size
    for record in sweep.folder.epochs(running.trial):
        if record["epoch"] <= running.judged:
            continue
        running.judged = record["epoch"]
        sweep.table.epoch(running.trial, record)
        value = record["metrics"].get("val/dice")
        last = record["epoch"] >= running.trial.config.epochs
        if value is None or running.given_up:
            continue
        if sweep.source.falls_behind(running.trial, record["epoch"], value) and not last:
            running.given_up = True
            sweep.folder.ask_to_stop(running.trial, EARLY)


def _ended(sweep: Sweep, running: Running, report: Report) -> None:
    """Keep how an attempt ended, or try the trial again."""
    _follow(sweep, running)
    trial, run_id = running.trial, sweep.folder.run_id(running.trial)
    running.seconds += report.seconds or time.monotonic() - running.started
    if report.kind == "broken" and running.attempt <= sweep.retries and not sweep.stop.asked:
        sweep.table.lost(trial, report.error, running.attempt, sweep.retries)
        running.attempt += 1
        sweep.again.append(running)
        return
    epochs = sweep.folder.epochs(trial)
    best, at = best_epoch(epochs)
    early = running.given_up and len(epochs) < trial.config.epochs
    state = {"finished": "pruned" if early else "finished", "stopped": "stopped"}.get(
        report.kind, "failed"
    )
    if state == "failed" and sweep.stop.asked and report.kind == "broken":
        state = "stopped"  # lost while it was told to stop: the same command goes on with it
    if state == "failed":
        run_id = sweep.record_failure(trial, run_id, report.error)
    ended = Ended(
        state=state,
        best=best,
        best_epoch=at,
        epochs=len(epochs),
        seconds=running.seconds,
        attempts=running.attempt,
        run_id=run_id or "",
        error=report.error if state == "failed" else "",
    )
    sweep.folder.close(trial, ended)
    for one in (trial, *running.twins):
        _close(sweep, one, ended)


def _close(sweep: Sweep, trial: Trial, ended: Ended, again: bool = False) -> None:
    """Tell all who want to know; again: the trial is over since an earlier command."""
    for record in sweep.folder.epochs(trial) if again else ():
        if "val/dice" in record["metrics"]:
            sweep.source.falls_behind(trial, record["epoch"], record["metrics"]["val/dice"])
    sweep.ended[trial.number] = ended
    sweep.source.tell(trial, ended)
    sweep.table.end(trial, ended, again)


def _ask_all_to_stop(sweep: Sweep) -> None:
    for running in sweep.running.values():
        if not running.told_to_stop:
            running.told_to_stop = True
            sweep.folder.ask_to_stop(running.trial, str(sweep.stop.signal))
