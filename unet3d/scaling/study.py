"""`unet3d scaling`: the same trials by each parallelism on 1, 2, 4, ... devices, measured.

Each cell of the study is a sweep in a process of its own, from its command to its last result.
"""

from __future__ import annotations

import json
import logging
import math
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from itertools import chain, count
from pathlib import Path

from unet3d import machine
from unet3d.cluster.ray_cluster import cluster_address
from unet3d.config.schema import Config, ScalingConfig
from unet3d.errors import ConfigError, RunError
from unet3d.files import read_text, write_text
from unet3d.scaling.study_report import CellResult, print_table, write_study
from unet3d.scaling.trials import grid_of
from unet3d.sweep.sweep_folder import SweepFolder, sweep_folder
from unet3d.tracking import guardian
from unet3d.training.measured_run import measured_runs
from unet3d.training.run_times import PARTS

log = logging.getLogger(__name__)
MODES = ("experiment", "data", "hybrid")
HYBRID_DEVICES = 2  # of a trial
SWEEP = "from unet3d.cli import run_hydra; run_hydra(lambda config, overrides: None, 'sweep')"


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


def scaling_command(config: Config, settings: ScalingConfig, overrides: Sequence[str]) -> Path:
    """Measure what is missing of the study, and write its table, pictures and page.

    config: that of a trial, which came from `overrides`. Returns the study's folder. Raises
    ConfigError before any work for what cannot be measured, RunError where a cell fails.
    """
    if len(grid_of(overrides)) > 1:
        raise ConfigError(
            "scaling: the trials of a study differ in their seed alone; name the settings of one, "
            "such as experiment=paper in place of its grid"
        )
    cells = plan_cells(config, settings)
    folder = Path(config.output_dir) / "scaling" / settings.name
    _check_same_study(folder, settings, overrides)
    done = {cell.name: found for cell in cells if (found := _read(folder, cell))}
    log.info("scaling: %d cells, %d measured before", len(cells), len(done))
    for number, cell in enumerate(cells, start=1):
        if cell.name in done:
            continue
        log.info("scaling: cell %d of %d: %s", number, len(cells), cell.name)
        done[cell.name] = _measure(cell, config, settings, overrides, folder)
        print_table(list(done.values()))
    everything = [_cell_result(path) for path in sorted((folder / "cells").glob("*.json"))]
    write_study(everything, folder, settings)
    print(f"table, pictures and page: {folder}")
    return folder


def plan_cells(config: Config, settings: ScalingConfig) -> list[Cell]:
    """The measurements of a study, one device first. Raises ConfigError for impossible ones."""
    if not settings.fraction:
        raise ConfigError("fraction: 0 is not possible; it must be above 0, and 1 at the most")
    unknown = [mode for mode in settings.modes if mode not in MODES]
    if unknown or not settings.modes:
        raise ConfigError(
            f"modes: {', '.join(unknown) or 'none'} is not possible; choose of {', '.join(MODES)}"
        )
    _check_devices(config, settings)
    cells = []
    for devices in sorted(set(settings.devices)):
        for mode in settings.modes if devices > 1 else ("experiment",):
            each = {"experiment": 1, "data": devices, "hybrid": HYBRID_DEVICES}[mode]
            if mode == "hybrid" and devices <= HYBRID_DEVICES:
                continue
            batch = config.batch_size
            if not settings.weak and batch % (each * config.accumulate):
                raise ConfigError(
                    f"batch_size: {batch} cannot be shared by the {each} devices of a trial in "
                    f"mode {mode}; type batch_size={each * config.accumulate}, or weak=true, where "
                    "it is that of a replica"
                )
            cells += [
                Cell(mode, devices, each, devices // each, repeat)
                for repeat in range(settings.repeats)
            ]
    return cells


def _check_devices(config: Config, settings: ScalingConfig) -> None:
    if not settings.devices or min(settings.devices) < 1:
        raise ConfigError(f"devices: {settings.devices} is not possible; write devices=1,2,4")
    if cluster_address(config) is not None:
        return  # the first sweep of so many says what the cluster lacks
    there = len(machine.gpu_sizes()) or machine.cores()
    if max(settings.devices) > there:
        kind = "GPUs" if machine.gpu_sizes() else "CPUs"
        raise ConfigError(
            f"devices: {max(settings.devices)} is more than the {there} {kind} of this machine; "
            "name a Ray cluster with parallel.address=, or fewer"
        )


def cell_overrides(cell: Cell, config: Config, settings: ScalingConfig) -> list[str]:
    """What a cell's sweep is typed with, beside the overrides of the study."""
    gpus = bool(machine.gpu_sizes()) or cluster_address(config) is not None
    seeds = ",".join(str(config.seed + trial) for trial in range(settings.trials))
    own = [
        f"seed={seeds}",
        f"epochs={max(1, math.ceil(config.epochs * settings.fraction))}",
        f"output_dir={config.output_dir}",
        f"parallel.trials_at_once={cell.at_once}",
        "sweep.grow=off",
        f"+tracking.tags.study={settings.name}",
    ]
    if cell.each > 1:
        own += ["parallel=data", f"parallel.devices={cell.each}"]
    elif not gpus:
        own += ["parallel.cpus_per_trial=1"]
    if settings.weak:
        own += [f"batch_size={config.batch_size * cell.each}"]
    return own


def _measure(
    cell: Cell, config: Config, settings: ScalingConfig, overrides: Sequence[str], folder: Path
) -> CellResult:
    """Run a cell's sweep. One that was begun by a killed command is measured under another name."""
    name = f"{settings.name}-{cell.name}"
    names = chain([name], (f"{name}-{number}" for number in count(2)))
    folders = (sweep_folder(config.output_dir, one) for one in names)
    sweep = next(one for one in folders if not one.path.exists())
    own = [*cell_overrides(cell, config, settings), f"sweep.name={sweep.path.name}"]
    command = [
        sys.executable,
        guardian.__file__,
        sys.executable,
        "-c",
        SWEEP,
        "-m",
        *overrides,
        *own,
    ]
    start = time.monotonic()
    with (
        open(folder / f"{cell.name}.log", "w") as output,
        # The guardian ends the sweep once this pipe closes, as where this process is killed:
        # the sweep would go on beside that of the next command.
        subprocess.Popen(command, stdin=subprocess.PIPE, stdout=output, stderr=output) as process,
    ):
        code = process.wait()
    seconds = time.monotonic() - start
    if code:
        lines = (read_text(folder / f"{cell.name}.log") or "").strip().splitlines()
        raise RunError(f"scaling: {cell.name} failed: {lines[-1] if lines else code}")
    result = _result(cell, sweep, seconds, config.output_dir)
    write_text(_file(folder, cell), json.dumps(asdict(result), indent=1))
    return result


def _result(cell: Cell, sweep: SweepFolder, seconds: float, output_dir: str) -> CellResult:
    runs = measured_runs(output_dir, [trial.result.run_id for trial in sweep.trials()])
    parts = {part: sum(run.part(part) for run in runs) for part in PARTS}
    patches = sum(run.epochs * run.cost.steps * run.cost.batch for run in runs)
    return CellResult(
        cell.mode, cell.devices, cell.repeat, seconds, len(runs), patches / seconds, parts
    )


def _file(folder: Path, cell: Cell) -> Path:
    return folder / "cells" / f"{cell.name}.json"


def _read(folder: Path, cell: Cell) -> CellResult | None:
    path = _file(folder, cell)
    return _cell_result(path) if path.exists() else None


def _cell_result(path: Path) -> CellResult:
    return CellResult(**json.loads(path.read_text()))


def _check_same_study(folder: Path, settings: ScalingConfig, overrides: Sequence[str]) -> None:
    """Keep what the study is of; ConfigError where its folder is of another."""
    asked = {
        "overrides": sorted(o for o in overrides if not o.startswith("output_dir=")),
        "trials": settings.trials,
        "fraction": settings.fraction,
        "weak": settings.weak,
    }
    text = read_text(folder / "study.json")
    if text is None:
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "cells").mkdir(exist_ok=True)
        write_text(folder / "study.json", json.dumps(asked, indent=1))
    elif json.loads(text) != asked:
        raise ConfigError(
            f"name: {folder} is a study with other settings, {text}; choose another name=..., or "
            "type the same settings again. Only devices, modes and repeats may be added"
        )
