"""A sweep from its trials to its report: find resources, record, run, compare."""

from __future__ import annotations

import logging
import math
import shlex
import sys
import time
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path
from typing import Any

from unet3d.cluster.ray_cluster import cluster_address, ray_cluster
from unet3d.cluster.versions import check_nodes
from unet3d.config.command_line import program
from unet3d.config.schema import AUTO, Config, SweepConfig
from unet3d.disk import check_writable
from unet3d.distributed.gpus import check_gpus
from unet3d.distributed.run_state import FAILED, KILLED, RUNNING, read_state
from unet3d.distributed.stop import StopRequest, stop_requests
from unet3d.distributed.writer import FORMER_SECONDS, end_for
from unet3d.errors import DataError, RunError
from unet3d.logs import log_to_console
from unet3d.run_folder import run_folder
from unet3d.sweep.budget import Budget, check_deadline, make_budget
from unet3d.sweep.configuration_runs import ConfigurationRuns
from unet3d.sweep.configurations import repeats
from unet3d.sweep.finish import finish
from unet3d.sweep.forecast.forecast import simulated_sweep
from unet3d.sweep.forecast.known_timing import newest_runs, timing_of_runs
from unet3d.sweep.forecast.process import forecast_of, start_forecast
from unet3d.sweep.forecast.trial_costs import (
    capacity_of,
    check_fit,
    check_trials,
    cost_lines,
    trial_costs,
)
from unet3d.sweep.live_table import LiveTable
from unet3d.sweep.plan import SweepPlan, check_alike, run_config
from unet3d.sweep.resources import TrialResources, choose_from_cluster, devices_of_slot
from unet3d.sweep.running import Sweep
from unet3d.sweep.runs import close_trials
from unet3d.sweep.scheduler import run_trials
from unet3d.sweep.search.search import Search
from unet3d.sweep.stores import make_stores
from unet3d.sweep.sweep_folder import SweepFolder, sweep_folder
from unet3d.sweep.trial import Trial, TrialResult
from unet3d.sweep.worker_pool import WorkerPool
from unet3d.tracking.connection import record_or_warn
from unet3d.tracking.run import end_run
from unet3d.tracking.sweep import SweepRecord, check_shared, open_sweep
from unet3d.training.run_cost import trials_like

log = logging.getLogger(__name__)
CLOSE_SECONDS = 10.0  # for the process of a lost trial to end


def run_sweep(plan: SweepPlan) -> dict[int, TrialResult]:
    """Run the trials that are not over yet; returns how each ended, by its number.

    Raises RunError before any trial where settings, data, cluster or tracking cannot work, and
    RunStopped, with the exit code for the shell, after a signal or when trials have failed.
    """
    log_to_console()
    begun: float | None = time.monotonic()
    config, folder = plan.config, sweep_folder(plan.config.output_dir, plan.name)
    check_alike(plan.trials)
    check_deadline(config.sweep)
    if not config.dry_run:
        check_writable("output_dir", Path(config.output_dir))
        if cluster_address(config) is None:  # the workers will share this machine
            check_gpus(config)
    with stop_requests() as stop, ExitStack() as stack:
        if not config.dry_run:
            # Any sweep goes on by itself; auto waits for its job's former process, too.
            stack.enter_context(folder.held(FORMER_SECONDS if config.resume == AUTO else 0.0))
            if not config.sweep.racing:
                folder.race.unlink(missing_ok=True)
            make_stores([*plan.trials, *plan.later], folder)
            search = plan.make_search(folder)
        local = stack.enter_context(ray_cluster(config, "the trials run here", **plan.ray_init))
        if config.parallel.name == AUTO:
            from unet3d.sweep.forecast.auto_parallel import with_parallelism  # imports TensorFlow

            plan = with_parallelism(plan, local)
            config = plan.config
        resources, machines = choose_from_cluster(config, local)
        _announce(plan, resources, machines)
        if config.dry_run:
            _show_costs(plan, resources, local)
            for line in forecast_of(plan, resources, folder, newest_runs(config.output_dir))():
                log.info("%s", line)
            return {}
        if config.sweep.probe:
            _show_costs(plan, resources, local)
        else:
            check_trials(plan.trials, resources, config, local)
        budget = _budget(plan, resources, folder)
        if not local:
            check_nodes({"CPU": resources.cpus, "GPU": resources.gpus})
        check_shared(config, machines)
        pool = WorkerPool(config, resources, local, plan.ray_remote)
        pool.keep(plan.total)  # they import while the store is opened
        stack.enter_context(_server(config, local))
        record = open_sweep(config, plan.name, _tags(plan), folder.facts().run_id)
        parent = record.run_id if record else None
        if folder.trials():  # begun by another command: then no time says what the sweep takes
            begun = None
        before = folder.facts()
        wanted = config.sweep.forecast and begun is not None
        forecast = start_forecast(plan, resources, folder) if wanted else None
        if forecast is not None:
            stack.callback(forecast.end)
        groups = _groups(plan, folder, record)
        facts = replace(before, name=plan.name, run_id=parent, command=_command())
        facts = replace(facts, budget=config.sweep.budget or 0.0, minimize=config.sweep.minimize)
        folder.write_facts(replace(facts, swept=tuple(plan.swept)))
        close_trials(config, folder)
        stop.deferred = True
        try:
            results = _run(plan, search, folder, pool, record, groups, stop, local, begun, budget)
        except BaseException as error:
            if groups is not None:
                groups.close(None)
            if record is not None:
                record_or_warn(record.close, "FAILED", {"unet3d.reason": str(error)}, {})
            raise
        if forecast is not None and not stop.asked:
            forecast.wait()
        finish(plan, folder, record, groups, stop, results, budget)
        return results


def _run(
    plan: SweepPlan,
    search: Search,
    folder: SweepFolder,
    pool: WorkerPool,
    record: SweepRecord | None,
    groups: ConfigurationRuns | None,
    stop: StopRequest,
    local: bool,
    begun: float | None,
    budget: Budget | None,
) -> dict[int, TrialResult]:
    """Run the trials. begun: when the command was, to be kept with what it took; None: not."""

    def prepare(trial: Trial, run_id: str | None) -> Config:
        parent = record.run_id if record else None
        if groups is not None:
            parent = groups.parent_of(trial.swept)
        return run_config(trial, plan, pool.resources, parent, run_id)

    def record_failure(trial: Trial, run_id: str | None, error: str) -> str:
        state = run_folder(plan.config.output_dir, run_id).state if run_id else None
        if state is not None and not end_for(state, FAILED, error, patience=CLOSE_SECONDS):
            return run_id or ""  # another process trains it: it is not for this sweep to end
        if record is None:
            return run_id or ""
        return record_or_warn(record.fail, prepare(trial, None), run_id, error) or run_id or ""

    def record_stop(trial: Trial, run_id: str, reason: str) -> None:
        state = run_folder(plan.config.output_dir, run_id).state
        known = read_state(state)
        if known is not None and known.status != RUNNING:  # its own process has closed it
            return
        if end_for(state, KILLED, reason, patience=CLOSE_SECONDS) and record is not None:
            record_or_warn(end_run, prepare(trial, run_id), KILLED, reason)

    with LiveTable(plan.total, pool.resources.at_once) as table:
        sweep = Sweep(
            search=search,
            folder=folder,
            pool=pool,
            table=table,
            stop=stop,
            retries=plan.config.sweep.retries,
            local=local,
            prepare=prepare,
            record_failure=record_failure,
            record_stop=record_stop,
            grow=_grow(plan.config.sweep),
            budget=budget,
        )
        results = run_trials(sweep)
    if budget is not None and not sweep.ended:
        budget.reason = ""
    if begun is not None and not sweep.stopping:
        seconds = time.monotonic() - begun
        overhead = seconds - table.trial_seconds
        known = replace(folder.facts(), seconds=seconds, overhead=overhead)
        folder.write_facts(replace(known, worker_start=pool.start_seconds))
    return results


def _grow(sweep: SweepConfig) -> str:
    """When trials grow: never in a population, where short trials wait for each other."""
    return sweep.grow if sweep.perturbation_interval is None else "off"


def _show_costs(plan: SweepPlan, resources: TrialResources, local: bool) -> None:
    """What each trial takes, in a table. Raises RunError that names those that cannot fit."""
    config, timing = plan.config, None
    output_dir = config.output_dir
    try:
        timing = timing_of_runs(newest_runs(output_dir), f"runs of {output_dir}", output_dir)
    except RunError as error:
        log.info("no times: %s", error)
    capacity = capacity_of(config, resources, local)
    try:
        costs = trial_costs(plan.trials, resources, timing)
    except DataError as error:
        log.info("no memory: %s", error)
        return
    if config.sweep.probe:
        from unet3d.sweep.forecast.probe import probed

        runs = [one.cost for one in trials_like([t.config for t in plan.trials], len(costs))]
        costs = probed(costs, runs, resources, local)
    for line in cost_lines(costs, capacity, config.sweep.price):
        log.info("%s", line)
    check_fit(costs, capacity)


def _budget(plan: SweepPlan, resources: TrialResources, folder: SweepFolder) -> Budget | None:
    """The limits of the sweep. Raises ConfigError where no trial can end within them."""
    configs, output_dir = [trial.config for trial in plan.trials], plan.config.output_dir

    def forecast() -> float | None:
        try:
            timing = timing_of_runs(newest_runs(output_dir), f"runs of {output_dir}", output_dir)
            one = replace(resources, at_once=1)
            return simulated_sweep(configs, len(configs), one, timing).makespan * devices
        except (RunError, DataError):  # nothing is measured yet, or no store is built
            return None

    devices = devices_of_slot(resources)
    return make_budget(plan.config.sweep, folder, configs, devices, forecast)


def _groups(
    plan: SweepPlan, folder: SweepFolder, record: SweepRecord | None
) -> ConfigurationRuns | None:
    """Where several trials belong to one configuration."""
    if record is None or not repeats(plan.config.sweep):
        return None
    return ConfigurationRuns(record, folder.configurations)


def _announce(plan: SweepPlan, resources: TrialResources, machines: int) -> None:
    trials, at_once = plan.total, min(resources.at_once, plan.total)
    log.info(
        "sweep %s: %d trials over %s; each on %s, %d at once%s",
        plan.name,
        trials,
        ", ".join(plan.swept) or "nothing",
        resources.describe(),
        at_once,
        f" on {machines} machines" if machines > 1 else "",
    )
    if plan.config.dry_run:
        for trial in plan.trials:
            log.info("  trial %d: %s", trial.number, trial.name)
            log.info("    %s", trial.command_with(resources.replicas(trial.config)))
        log.info("%d rounds of %d; nothing was run", math.ceil(trials / at_once), at_once)


def _server(config: Config, local: bool) -> Any:
    import ray

    from unet3d.tracking.server import tracking_server

    return tracking_server(config, "127.0.0.1" if local else ray.util.get_node_ip_address())


def _tags(plan: SweepPlan) -> dict[str, str]:
    return {
        "sweep.name": plan.name,
        "sweep.swept": ", ".join(plan.swept),
        "sweep.command": _command()[:5000],
    } | ({"parallel.auto": plan.auto} if plan.auto else {})


def _command() -> str:
    """What the user typed."""
    return shlex.join([*program("sweep"), *sys.argv[1:]])
