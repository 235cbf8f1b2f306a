"""A trial with other devices than before: whether it may, what it gets, and its settings."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Sequence
from dataclasses import replace

from unet3d.cluster.nodes import WorkerResources
from unet3d.config.schema import Config
from unet3d.planning.grow import GrowingTrial, choose_sizes, possible_sizes, size_after
from unet3d.run_folder import run_folder
from unet3d.sampling.split_record import read_record
from unet3d.sweep.growth.pace import measured_pace, start_seconds
from unet3d.sweep.resources import TrialResources
from unet3d.sweep.running_trial import RunningTrial
from unet3d.sweep.sweep_folder import SweepFolder
from unet3d.sweep.worker_pool import WorkerPool

log = logging.getLogger(__name__)
PLACEMENT_SECONDS = 120.0  # for Ray to free what the trial's former workers used


def replica_setting(config: Config) -> str | None:
    """The setting by which the result depends on the number of replicas, or None."""
    if config.model.norm == "batch":
        return "model.norm=batch"
    if config.deterministic:
        return "deterministic=true"
    for name in ("lr_scaling", "compression"):
        if (value := getattr(config.parallel, name)) != "none":
            return f"parallel.{name}={value}"
    return None


def devices_of(resources: TrialResources, config: Config, slots: int = 1) -> int:
    """Replicas of a trial on so many slots."""
    gpus = int(resources.gpus) if config.parallel.name == "data" or slots > 1 else 1
    return slots * resources.workers_per_trial * max(1, gpus)


def possible_slots(config: Config, resources: TrialResources, capacity: int) -> tuple[int, ...]:
    """The numbers of slots on which the trial can train, with its global batch as it is."""
    share_of_gpu = resources.gpus % 1 > 0
    logical_cpus = not resources.gpus and (config.parallel.devices or 1) > 1
    if share_of_gpu or logical_cpus:
        return (1,)
    at_once = config.batch_size // config.accumulate
    return possible_sizes(at_once, devices_of(resources, config, 2) // 2, capacity)


def worker_resources(resources: TrialResources) -> WorkerResources:
    """What each worker of a grown trial gets: a slot, wherever Ray finds one."""
    return WorkerResources(resources.cpus, int(resources.gpus), "PACK", threads=resources.cpus)


def grown_config(config: Config, resources: TrialResources, slots: int) -> Config:
    """The settings of a trial's run on several slots: those of one, over a worker group."""
    parallel = replace(
        config.parallel,
        name="data",
        devices=None,
        cpus_per_node=resources.cpus,
        gpus_per_node=int(resources.gpus) or config.parallel.gpus_per_node,
        min_nodes=None,
        wait_for_nodes=max(config.parallel.wait_for_nodes, PLACEMENT_SECONDS),
    )
    return replace(config, nodes=slots * resources.workers_per_trial, parallel=parallel)


def slots_after(
    config: Config, resources: TrialResources, capacity: int, wanted: int, free: int
) -> int:
    """With which a trial goes on that was to have `wanted`, where `free` are left for it now."""
    return size_after(possible_slots(config, resources, capacity), wanted, free)


def ask_to_regroup(
    grow: str, pool: WorkerPool, folder: SweepFolder, trials: Sequence[RunningTrial], waiting: int
) -> None:
    """Ask those of the running trials that shall have more or fewer devices after their epoch.

    grow: sweep.grow. waiting: trials that need a slot. Requests that have lost their reason are
    withdrawn.
    """
    for one in trials:
        if one.wanted is not None and (one.wanted > one.slots) == (waiting > 0):
            one.wanted = None
            folder.job(one.trial).withdraw_regroup()
    free = pool.capacity - sum(one.wanted or one.slots for one in trials)
    for one in trials:
        if free <= 0 or waiting:
            one.free_since = None
        elif one.free_since is None:
            one.free_since = len(one.metrics) + 1  # the epoch that it is in has seen both
    running = {one.trial.number: one for one in trials if one.wanted is None and not one.pruned}
    growing = {number: _growing(one, pool) for number, one in running.items()}
    fixed = _fixed(grow, running.values())
    for number, slots in choose_sizes(free, waiting, list(growing.values())).items():
        if number in fixed and slots > running[number].slots and not running[number].stays:
            running[number].stays = True
            log.info(
                "trial %d (%s) stays as it is, with devices free: %s makes its result depend on "
                "their number; sweep.grow=always has it grow all the same",
                number,
                running[number].trial.name,
                fixed[number],
            )
    free_to_change = [one for number, one in growing.items() if number not in fixed]
    for number, slots in choose_sizes(free, waiting, free_to_change).items():
        running[number].wanted = slots
        folder.job(running[number].trial).ask_to_regroup()


def _fixed(grow: str, trials: Iterable[RunningTrial]) -> dict[int, str]:
    """The trials that do not grow, by number, and the setting that keeps them from it."""
    if grow == "always":
        return {}
    settings = {one.trial.number: replica_setting(one.trial.config) for one in trials}
    return {number: setting for number, setting in settings.items() if setting}


def _growing(one: RunningTrial, pool: WorkerPool) -> GrowingTrial:
    """What decides about a trial: how many slots it may have, and what was measured of it."""
    config, resources = one.trial.config, pool.resources
    epochs = one.metrics
    if not resources.gpus and one.free_since is not None:
        # Cores beside idle ones are faster: by epochs beside busy ones, growing would gain more.
        beside_free = epochs[max(1, one.free_since) :]
        epochs = [*epochs[:1], *beside_free] if beside_free else []
    pace = measured_pace(
        epochs, one.slots, _validated_cases(one, config), resources.workers_per_trial
    )
    sizes = possible_slots(config, resources, pool.capacity)
    return GrowingTrial(
        number=one.trial.number,
        slots=one.slots,
        sizes=sizes if one.may_grow else (1,),
        epochs_left=config.epochs - one.last_epoch - 1,
        pace=pace,
        restart=pool.start_seconds + start_seconds(one.metrics[0]) if one.metrics else 0.0,
    )


def _validated_cases(one: RunningTrial, config: Config) -> int:
    """The validation cases that the record of the trial's run names; 1 where there is none yet."""
    if not one.cases and one.run_id:
        record = read_record(run_folder(config.output_dir, one.run_id).split)
        cases = len(record.split.val) if record else 0
        one.cases = min(cases, config.validation.cases or cases)
    return one.cases or 1
