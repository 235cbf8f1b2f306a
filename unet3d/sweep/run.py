"""A sweep from its trials to its table: place, record, run, compare."""

from __future__ import annotations

import logging
import math
import shlex
import sys
import time
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from unet3d.config import Config, ParallelConfig, SweepRunConfig
from unet3d.log import log_to_console
from unet3d.parallel.cluster import ray_cluster
from unet3d.sweep.folder import SweepFolder, sweep_folder
from unet3d.sweep.pool import Pool
from unet3d.sweep.runner import Sweep, run_trials
from unet3d.sweep.share import Share, make_share
from unet3d.sweep.source import Source
from unet3d.sweep.table import Table
from unet3d.sweep.trial import Ended, Trial
from unet3d.tracking.store import keep
from unet3d.tracking.sweep import SweepRecord, check_shared, open_sweep
from unet3d.training.errors import RunError, RunStopped
from unet3d.training.stop import StopRequest, stop_requests

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Plan:
    """What is asked for. trials: those known before, all of a grid, the first of a search."""

    config: SweepRunConfig
    name: str
    differs: list[str]
    trials: Sequence[Trial]
    total: int
    make_source: Callable[[SweepFolder], Source]
    ray_init: dict[str, Any] = field(default_factory=dict)
    ray_remote: dict[str, Any] = field(default_factory=dict)


def run_sweep(plan: Plan) -> dict[int, Ended]:
    """Run the trials that are not over yet; returns how each ended.

    Raises RunError before any trial where settings, data, cluster or tracking cannot work, and
    RunStopped, with the exit code for the shell, after a signal or when trials have failed.
    """
    log_to_console()
    config, folder = plan.config, SweepFolder(sweep_folder(plan.config, plan.name))
    _check_alike(plan.trials)
    with stop_requests() as stop, ExitStack() as stack:
        if not config.dry_run:
            stack.enter_context(folder.held())
            _make_stores(plan.trials)
            source = plan.make_source(folder)
        local = stack.enter_context(ray_cluster(config, "the trials run here", **plan.ray_init))
        share, machines = _wait_for_share(config, local)
        _announce(plan, share, machines)
        if config.dry_run:
            return {}
        check_shared(config, machines)
        pool = Pool(share, plan.ray_remote)
        pool.start(min(share.at_once, plan.total))  # they import while the store is opened
        stack.enter_context(_server(config, local))
        record = open_sweep(config, plan.name, _tags(plan), folder.read().get("run_id"))
        folder.write(
            name=plan.name,
            run_id=record.run_id if record else None,
            command=_command(),
            differs=plan.differs,
        )
        stop.deferred = True
        try:
            ended = _run(plan, source, folder, pool, record, stop, local)
        except BaseException as error:
            if record is not None:
                keep(record.close, "FAILED", {"unet3d.reason": str(error)}, {})
            raise
        _finish(plan, folder, record, stop, ended)
        return ended


def _run(
    plan: Plan,
    source: Source,
    folder: SweepFolder,
    pool: Pool,
    record: SweepRecord | None,
    stop: StopRequest,
    local: bool,
) -> dict[int, Ended]:
    def prepare(trial: Trial, run_id: str | None) -> Config:
        return run_config(trial, plan, pool.share, record.run_id if record else None, run_id)

    def record_failure(trial: Trial, run_id: str | None, error: str) -> str:
        if record is None:
            return run_id or ""
        told: list[str] = []
        keep(lambda: told.append(record.fail(prepare(trial, None), run_id, error)))
        return told[0] if told else run_id or ""

    with Table(plan.total, pool.share.at_once) as table:
        sweep = Sweep(
            source=source,
            folder=folder,
            pool=pool,
            table=table,
            stop=stop,
            retries=plan.config.sweep.retries,
            local=local,
            prepare=prepare,
            record_failure=record_failure,
        )
        return run_trials(sweep)


def run_config(
    trial: Trial, plan: Plan, share: Share, parent: str | None, run_id: str | None
) -> Config:
    """The settings of a trial's run: those of the trial, recorded under the sweep, on its share."""
    config = trial.config
    tags = {
        **config.tracking.tags,
        "sweep.name": plan.name,
        "sweep.trial": str(trial.number),
        "sweep.key": trial.key,
        **{f"sweep.{key}": value for key, value in trial.differs.items()},
    }
    tracking = replace(config.tracking, parent=parent, run_name=trial.name, tags=tags)
    parallel = config.parallel
    if share.gang > 1:  # places are there, if perhaps not at once
        parallel = replace(parallel, cpus_per_node=share.cpus, wait_for_nodes=24 * 3600.0)
    data = replace(config.data, workers=config.data.workers or share.cpus)
    return replace(config, resume=run_id, tracking=tracking, parallel=parallel, data=data)


def _check_alike(trials: Sequence[Trial]) -> None:
    """RunError where trials differ in what all of a sweep share."""

    def shared(config: Config) -> tuple[ParallelConfig, int, str, str]:
        return config.parallel, config.nodes, config.output_dir, config.tracking.name

    for trial in trials[1:]:
        if shared(trial.config) != shared(trials[0].config):
            raise RunError(
                f"trial {trial.number} ({trial.name}): parallel.*, nodes, output_dir and tracking "
                "are the same for all trials of a sweep; type one sweep for each"
            )


def _make_stores(trials: Sequence[Trial]) -> None:
    """Preprocess once, before the trials; what is wrong with data or patches shows here."""
    from unet3d.training.setup import make_data

    seen: list[Any] = []
    for trial in trials:
        config = trial.config
        needs = (config.data, config.augment, config.batch_size, config.model.depth)
        if needs not in seen:
            seen.append(needs)
            make_data(config)


def _wait_for_share(config: Config, local: bool) -> tuple[Share, int]:
    """Each trial's share, and the number of machines; waits for parallel.wait_for_nodes."""
    import ray

    deadline = time.monotonic() + config.parallel.wait_for_nodes
    while True:
        alive = [node for node in ray.nodes() if node["Alive"]]
        nodes = [{kind: n["Resources"].get(kind, 0.0) for kind in ("CPU", "GPU")} for n in alive]
        machines = len({n["NodeManagerAddress"] for n in alive if n["Resources"].get("CPU")})
        try:
            return make_share(config, nodes, local), machines
        except RunError:
            if time.monotonic() > deadline:
                raise
        time.sleep(1)


def _announce(plan: Plan, share: Share, machines: int) -> None:
    trials, at_once = plan.total, min(share.at_once, plan.total)
    log.info(
        "sweep %s: %d trials over %s; each on %s, %d at once%s",
        plan.name,
        trials,
        ", ".join(plan.differs) or "nothing",
        share.told(),
        at_once,
        f" on {machines} machines" if machines > 1 else "",
    )
    if plan.config.dry_run:
        for trial in plan.trials:
            log.info("  trial %d: %s", trial.number, trial.name)
            log.info("    %s", trial.command)
        log.info("%d rounds of %d; nothing was run", math.ceil(trials / at_once), at_once)


def _server(config: Config, local: bool) -> Any:
    import ray

    from unet3d.tracking.server import tracking_server

    return tracking_server(config, "127.0.0.1" if local else ray.util.get_node_ip_address())


def _tags(plan: Plan) -> dict[str, str]:
    return {
        "sweep.name": plan.name,
        "sweep.differs": ", ".join(plan.differs),
        "sweep.command": _command()[:5000],
    }


def _command() -> str:
    """What the user typed."""
    return shlex.join(["python", Path(sys.argv[0]).name, *sys.argv[1:]])


def _finish(
    plan: Plan,
    folder: SweepFolder,
    record: SweepRecord | None,
    stop: StopRequest,
    ended: dict[int, Ended],
) -> None:
    """The last table, the report, the parent run's end, and the exit code."""
    from unet3d.sweep.report import write_report
    from unet3d.sweep.results import counted, note, print_results, read_results

    results = read_results(folder.path)
    print_results(results)
    counts = counted(ended.values())
    report = write_report(folder.path, plan.config.output_dir)
    log.info("report: %s", report)
    status = "KILLED" if stop.asked else "FAILED" if counts.get("failed") else "FINISHED"
    if record is not None:
        best = max((e.best for e in ended.values() if e.best is not None), default=None)
        metrics = {f"sweep/{state}": float(count) for state, count in counts.items()}
        if best is not None:
            metrics["sweep/best_val_dice"] = best
        keep(record.log_folder, report.parent)
        keep(
            record.close, status, {"mlflow.note.content": note(results, record.experiment)}, metrics
        )
    told = ", ".join(f"{count} {state}" for state, count in counts.items()) or "none had begun"
    if status == "KILLED":
        raise RunStopped(f"stopped: {told}; the same command goes on", stop.exit_code)
    if status == "FAILED":
        raise RunStopped(f"{told}; the same command tries the failed ones again", 1)
    log.info("all over: %s", told)
