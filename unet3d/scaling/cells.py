"""The measurements of a study, and what the sweep of each is typed with."""

from __future__ import annotations

import math
from dataclasses import dataclass

from unet3d.config.schema import Config, ScalingConfig
from unet3d.errors import ConfigError
from unet3d.scaling.devices import GPUS, NODES, StudyDevices

MODES = ("experiment", "data", "hybrid")
HYBRID_DEVICES = 2  # of a trial


@dataclass(frozen=True)
class Cell:
    """One measurement. each: devices of a trial; at_once: trials that run together."""

    mode: str
    devices: int
    each: int
    at_once: int
    repeat: int

    @property
    def name(self) -> str:
        """Of its file, and of its sweep."""
        return f"{self.mode}-{self.devices}-{self.repeat}"


def plan_cells(
    config: Config, settings: ScalingConfig, devices: StudyDevices, weak: bool
) -> list[Cell]:
    """The measurements of a study, one device first. Raises ConfigError for impossible ones."""
    if not settings.scaling.fraction:
        raise ConfigError("scaling.fraction: 0 is not possible; it must be above 0, up to 1")
    unknown = [mode for mode in settings.modes if mode not in MODES]
    if unknown or not settings.modes:
        raise ConfigError(
            f"modes: {', '.join(unknown) or 'none'} is not possible; choose of {', '.join(MODES)}"
        )
    _check_devices(settings, devices)
    cells = []
    for number in sorted(set(settings.devices)):
        for mode in settings.modes if number > 1 else ("experiment",):
            each = devices_of_trial(mode, number)
            if mode == "hybrid" and number <= HYBRID_DEVICES:
                continue
            _check_shares(mode, each, config, devices, weak)
            cells += [
                Cell(mode, number, each, number // each, repeat)
                for repeat in range(settings.scaling.repeats)
            ]
    return cells


def devices_of_trial(mode: str, devices: int) -> int:
    """How many of so many devices a trial has."""
    return {"experiment": 1, "data": devices, "hybrid": HYBRID_DEVICES}[mode]


def divides(config: Config, settings: ScalingConfig) -> bool:
    """Whether the devices of each trial can share its batch."""
    shares = {
        devices_of_trial(mode, number)
        for mode in settings.modes
        if mode in MODES
        for number in settings.devices
    }
    return all(config.batch_size % (each * config.accumulate) == 0 for each in shares if each > 0)


def _check_devices(settings: ScalingConfig, devices: StudyDevices) -> None:
    if not settings.devices or min(settings.devices) < 1:
        raise ConfigError(f"devices: {settings.devices} is not possible; write devices=1,2,4")
    if max(settings.devices) > devices.count:
        raise ConfigError(
            f"devices: {max(settings.devices)} is more than the {devices.count} {devices.kind} of "
            f"{devices.place}; name fewer, or a larger Ray cluster with parallel.address="
        )


def _check_shares(mode: str, each: int, config: Config, devices: StudyDevices, weak: bool) -> None:
    if not weak and config.batch_size % (each * config.accumulate):
        raise ConfigError(
            f"batch_size: {config.batch_size} cannot be shared by the {each} devices of a trial in "
            f"mode {mode}; type batch_size={each * config.accumulate}, or scaling.weak=true, where "
            "it is that of a replica"
        )
    if each > devices.per_node and each % devices.per_node:
        raise ConfigError(
            f"devices: {each} for a trial are not whole nodes of {devices.per_node} GPUs; name a "
            f"multiple of {devices.per_node}"
        )


def epochs_of(config: Config, settings: ScalingConfig) -> int:
    """Of a trial: the share scaling.fraction, rounded up."""
    return max(1, math.ceil(config.epochs * settings.scaling.fraction))


def cell_overrides(
    cell: Cell,
    config: Config,
    settings: ScalingConfig,
    devices: StudyDevices,
    weak: bool,
    seeds: int,
) -> list[str]:
    """What a cell's sweep is typed with, beside the overrides of the study.

    seeds: how many trials differ in that alone; 0: the study's overrides are a grid.
    """
    own = [
        f"epochs={epochs_of(config, settings)}",
        f"output_dir={config.output_dir}",
        f"parallel.trials_at_once={cell.at_once}",
        "sweep.grow=off",
        "sweep.forecast=false",  # it would compute beside the trials
        f"+tracking.tags.study={settings.scaling.name}",
    ]
    if seeds:
        own += ["seed=" + ",".join(str(config.seed + trial) for trial in range(seeds))]
    if config.batch_per_replica is not None:
        own += ["batch_per_replica=null"]
    if weak or config.batch_per_replica is not None:
        own += [f"batch_size={config.batch_size * (cell.each if weak else 1)}"]
    return own + _placement(cell, devices)


def _placement(cell: Cell, devices: StudyDevices) -> list[str]:
    """Where each trial trains."""
    if devices.kind == NODES:
        if cell.each == 1:
            return [f"parallel.cpus_per_trial={devices.cpus}"]
        return [
            *("parallel=data", f"nodes={cell.each}", f"parallel.cpus_per_node={devices.cpus}"),
        ]
    if cell.each == 1:
        return [] if devices.kind == GPUS else ["parallel.cpus_per_trial=1"]
    if cell.each <= devices.per_node:
        return ["parallel=data", f"parallel.devices={cell.each}"]
    nodes = cell.each // devices.per_node
    return ["parallel=data", f"nodes={nodes}", f"parallel.gpus_per_node={devices.per_node}"]
