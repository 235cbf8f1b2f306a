"""The one loop of a sweep: give trials to workers, follow them, retry lost ones, keep results."""

from __future__ import annotations

import logging
import os
import signal
import time
from dataclasses import replace

from unet3d.cluster.local_ray import RayLost, check_ray
from unet3d.distributed.job_folder import JobFolder
from unet3d.errors import RunStopped
from unet3d.sweep.growth.regroup import (
    ask_to_regroup,
    devices_of,
    grown_config,
    slots_after,
    worker_resources,
)
from unet3d.sweep.resources import TrialResources, devices_of_slot
from unet3d.sweep.running import Sweep
from unet3d.sweep.running_trial import RunningTrial
from unet3d.sweep.sweep_folder import best_epoch
from unet3d.sweep.trial import Trial, TrialResult
from unet3d.sweep.trial_worker import AttemptOutcome, TrialJob

log = logging.getLogger(__name__)
POLL_SECONDS = 0.3
MAX_NODES_LOST = 20  # by one trial, without an epoch in between
AGAIN = ("broken", "lost")  # outcomes after which another attempt may succeed


def run_trials(sweep: Sweep) -> dict[int, TrialResult]:
    """Run all trials of the search; returns how each ended.

    After a signal the running trials save and stop; the same command later resumes the sweep.
    """
    while True:
        try:
            _check_budget(sweep)
            if sweep.stopping:
                _ask_all_to_stop(sweep, sweep.stop.signal or signal.SIGTERM)
            else:
                _fill(sweep)
                sweep.pool.keep(_left(sweep))
                sweep.table.at_once = max(sweep.table.at_once, len(sweep.running))
            if not sweep.running and (sweep.stopping or _next_waiting(sweep) is None):
                sweep.ended = sweep.ended or bool(sweep.waiting and not sweep.stop.asked)
                _stop_lost_ones(sweep)
                return sweep.results
            for reference, outcome in sweep.pool.wait(POLL_SECONDS):
                _end_attempt(sweep, sweep.running.pop(reference), outcome)
        except RayLost as lost:
            _go_on_with_new_ray(sweep, lost)
        for running in sweep.running.values():
            _read_epochs(sweep, running)
        if sweep.grow != "off" and not sweep.stopping:
            _regroup(sweep)
        sweep.table.total = sweep.search.total
        sweep.table.refresh()


def _check_budget(sweep: Sweep) -> None:
    """End the sweep where it has taken what it may."""
    if sweep.budget is None or sweep.stopping or not sweep.running:
        return
    if sweep.budget.passed(list(sweep.running.values())):
        sweep.ended = True
        log.info("%s; running trials save and stop", sweep.budget.reason)


def _go_on_with_new_ray(sweep: Sweep, lost: RayLost) -> None:
    """Start Ray again; the trials that ran resume from their checkpoints.

    Raises RunStopped where Ray ends again and again.
    """
    log.warning("sweep: %s", lost)
    if not sweep.local:  # workers live on for a while after the head of their cluster
        _ask_all_to_stop(sweep, sweep.stop.signal or signal.SIGTERM)
    for reference in list(sweep.running):
        outcome = AttemptOutcome("lost", 0.0, str(lost), reusable=False)
        _end_attempt(sweep, sweep.running.pop(reference), outcome)
    if sweep.stop.asked:
        return
    try:
        sweep.pool.start_again()
    except RayLost as again:
        if not sweep.stop.asked:
            raise RunStopped(f"sweep: {again}; the same command resumes the sweep", 1) from again


def _stop_lost_ones(sweep: Sweep) -> None:
    """Keep as stopped what was lost and had not started again before a signal."""
    for running in sweep.waiting:
        if running.attempt > 1 or running.last_epoch:
            _end_attempt(sweep, running, AttemptOutcome("stopped", 1e-3))  # the rest is counted


def _fill(sweep: Sweep) -> None:
    """Give each idle worker a trial, as long as there are any."""
    while sweep.pool.idle and not _lent(sweep):
        check_ray()
        running = _next_waiting(sweep)
        if running is None:
            return
        sweep.waiting.remove(running)
        _start(sweep, running)


def _lent(sweep: Sweep) -> bool:
    """Whether grown trials have the slots that idle workers, which end soon, have left."""
    slots = [running.slots for running in sweep.running.values()]
    return max(slots, default=1) > 1 and sum(slots) >= sweep.pool.capacity


def _next_waiting(sweep: Sweep) -> RunningTrial | None:
    """The trial to start next, which stays in the queue; None where none is left that may begin."""
    looked_at = 0
    while True:
        for one in list(sweep.waiting)[looked_at:]:
            if sweep.budget is None or sweep.budget.may_begin(one, sweep.running.values()):
                return one
        looked_at = len(sweep.waiting)
        if (looked_at and not sweep.search.may_skip) or not _queue_next(sweep):
            return None


def _queue_next(sweep: Sweep) -> bool:
    """Queue the next trial of the search that is not over already; False after the last."""
    while (trial := sweep.search.next()) is not None:
        before = sweep.folder.result(trial)
        twin = next((r for r in sweep.running.values() if r.trial.key == trial.key), None)
        if before is not None and before.over:
            sweep.folder.renew(trial)
            _close(sweep, trial, before, earlier=True)
        elif twin is not None:
            twin.twins.append(trial)
        else:
            spent = before.seconds if before is not None and before.state == "stopped" else 0.0
            used = sweep.budget.spent.get(trial.key, 0.0) if sweep.budget else 0.0
            if before is not None:
                used = before.device_seconds
            sweep.waiting.append(RunningTrial(trial, seconds=spent, device_seconds=used))
            sweep.queue_is_empty = False
            return True
    sweep.queue_is_empty = True
    return False


def _left(sweep: Sweep) -> int:
    """Trials that need a worker now or later, as far as is known."""
    if sweep.budget is not None and sweep.waiting:  # some of which may have to wait for ever
        return len(sweep.running) + (_next_waiting(sweep) is not None)
    if sweep.queue_is_empty:
        return len(sweep.running) + len(sweep.waiting)
    return max(1, sweep.search.total - len(sweep.results))


def _regroup(sweep: Sweep) -> None:
    """Ask trials to go on with more devices, where these are free, or with fewer."""
    trials = list(sweep.running.values())
    free = sweep.pool.capacity - sum(running.wanted or running.slots for running in trials)
    if trials and free > 0 and not (sweep.waiting or sweep.queue_is_empty):
        _queue_next(sweep)
    lent = sum(running.slots - 1 for running in trials)
    while len(sweep.waiting) < lent and _queue_next(sweep):  # another step of the search
        pass
    ask_to_regroup(sweep.grow, sweep.pool, sweep.folder, trials, len(sweep.waiting))


def _go_on(sweep: Sweep, running: RunningTrial) -> None:
    """Start a trial that has stopped for other devices on those that there are now."""
    pool = sweep.pool
    used = sum(other.slots for other in sweep.running.values()) + len(sweep.waiting)
    wanted = running.wanted or running.slots
    slots = slots_after(
        running.trial.config, pool.resources, pool.capacity, wanted, pool.capacity - used
    )
    running.begin_again()
    running.slots = slots
    if slots > 1:
        _start(sweep, running)
    else:
        sweep.waiting.append(running)


def _start(sweep: Sweep, running: RunningTrial) -> None:
    """Give the trial to an idle worker, or to a group where it has several slots.

    They resume what an earlier attempt or command left.
    """
    trial, resources = running.trial, sweep.pool.resources
    folder = sweep.folder.start(trial, resources.replicas(trial.config))
    if running.pruned:  # before the attempt that has ended saw it
        folder.ask_to_prune()
    run_id, grown = folder.run_id(), running.slots > 1
    running.started = time.monotonic()
    config = sweep.prepare(trial, run_id)
    job = TrialJob(
        config=grown_config(config, resources, running.slots) if grown else config,
        folder=folder,
        restarts=running.attempt if run_id else running.attempt - 1,
        threads=resources.cpus,
        workers_per_trial=resources.workers_per_trial * running.slots,
        local=sweep.local,
        environment={k: v for k, v in os.environ.items() if k.startswith("MLFLOW_")},
        grown=worker_resources(resources) if grown else None,
    )
    running.epochs_before = len(folder.epochs())
    changed = _note_devices(folder, running, resources)
    pool = sweep.pool
    reference = pool.submit_grown(job, running.slots) if grown else pool.submit(job)
    sweep.running[reference] = running
    sweep.table.begin(trial, running.attempt, bool(run_id), changed)


def _note_devices(
    folder: JobFolder, running: RunningTrial, resources: TrialResources
) -> tuple[int, int] | None:
    """Keep with the trial that it goes on with other devices; returns how many before and now."""
    changes, config = folder.regroupings(), running.trial.config
    before = changes[-1][2] if changes else devices_of(resources, config)
    after = devices_of(resources, config, running.slots)
    if before == after:
        return None
    folder.record_devices(running.epochs_before, before, after)
    return before, after


def _read_epochs(sweep: Sweep, running: RunningTrial) -> None:
    """Show the epochs that a trial has finished since the last look, and judge it by them."""
    folder = sweep.folder.job(running.trial)
    records, running.epochs_read = folder.new_epochs(running.epochs_read)
    for record in records:
        if record["epoch"] <= running.last_epoch:
            continue
        running.last_epoch = record["epoch"]
        if record["epoch"] > running.epochs_before:
            running.metrics.append(record["metrics"])
        running.run_id = running.run_id or folder.run_id() or ""
        sweep.table.epoch(running.trial, record)
        value = record["metrics"].get("val/dice")
        last = record["epoch"] >= running.trial.config.last_epoch
        if value is None or running.pruned:
            continue
        if sweep.search.should_prune(running.trial, record["epoch"], value) and not last:
            running.pruned = True
            folder.ask_to_prune()


def _end_attempt(sweep: Sweep, running: RunningTrial, outcome: AttemptOutcome) -> None:
    """Keep how an attempt ended, or queue the trial again."""
    _read_epochs(sweep, running)
    trial, folder = running.trial, sweep.folder.job(running.trial)
    run_id = folder.run_id()
    seconds = outcome.seconds or time.monotonic() - running.started
    running.seconds += seconds
    running.device_seconds += seconds * running.slots * devices_of_slot(sweep.pool.resources)
    if outcome.output:
        log.warning("trial %d: its worker wrote last:%s", trial.number, outcome.output)
    if outcome.kind == "regrouped" and not sweep.stopping:
        _go_on(sweep, running)
        return
    if running.slots > 1 and outcome.kind in ("wrong", "broken"):
        running.may_grow = False  # what comes from its growth is no failure of the trial
        outcome = replace(outcome, kind="lost")
    if not sweep.stopping and _worth_another(sweep, running, outcome):
        retry = f"retry {running.failures} of {sweep.retries}"
        how = "which counts as no retry" if outcome.kind == "lost" else retry
        sweep.table.lost(trial, outcome.error, how)
        running.attempt += 1
        running.begin_again()
        sweep.waiting.append(running)
        return
    epochs = folder.epochs()
    best, at = best_epoch(epochs)
    early = running.pruned and len(epochs) < trial.config.epochs
    state = {
        "finished": "pruned" if early else "finished",
        "stopped": "stopped",
        "regrouped": "stopped",
    }.get(outcome.kind, "failed")
    if state == "failed" and sweep.stopping and outcome.kind in AGAIN:
        state = "stopped"  # lost while it was stopping: the same command resumes it
    if state == "stopped" and run_id:  # whose last process may not have closed it
        sweep.record_stop(trial, run_id, f"stopped; {outcome.error}".strip("; "))
    if state == "failed":
        run_id = sweep.record_failure(trial, run_id, outcome.error + outcome.output)
    result = TrialResult(
        state=state,
        best=best,
        best_epoch=at,
        epochs=len(epochs),
        seconds=running.seconds,
        attempts=running.attempt,
        run_id=run_id or "",
        error=outcome.error if state == "failed" else "",
        device_seconds=running.device_seconds,
        parameters=epochs[-1].get("parameters", 0) if epochs else 0,
    )
    sweep.folder.finish(trial, result)
    for one in (trial, *running.twins):
        _close(sweep, one, result)


def _worth_another(sweep: Sweep, running: RunningTrial, outcome: AttemptOutcome) -> bool:
    """Whether the trial starts again: the count starts anew with each finished epoch."""
    if outcome.kind not in AGAIN:
        return False
    if running.last_epoch > running.failed_after:
        running.failures = running.nodes_lost = 0
        running.failed_after = running.last_epoch
    if outcome.kind == "lost":
        running.nodes_lost += 1
        return running.nodes_lost <= MAX_NODES_LOST
    running.failures += 1
    return running.failures <= sweep.retries


def _close(sweep: Sweep, trial: Trial, result: TrialResult, earlier: bool = False) -> None:
    """Hand the result to the search and the table; earlier: it is of an earlier command."""
    for record in sweep.folder.job(trial).epochs() if earlier else ():
        if "val/dice" in record["metrics"]:
            sweep.search.should_prune(trial, record["epoch"], record["metrics"]["val/dice"])
    sweep.results[trial.number] = result
    if sweep.budget is not None:
        sweep.budget.end(trial, result)
    sweep.search.tell(trial, result)
    sweep.table.end(trial, result, earlier)


def _ask_all_to_stop(sweep: Sweep, number: int) -> None:
    sweep.pool.stop_asked = sweep.pool.stop_asked or time.monotonic()
    for running in sweep.running.values():
        if not running.asked_to_stop:
            running.asked_to_stop = True
            sweep.folder.job(running.trial).ask_to_stop(number)
