"""`unet3d scaling`: the same trials by each parallelism on 1, 2, 4, ... devices, measured.

Each cell of the study is a sweep in a process of its own, from its command to its last result.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import asdict, dataclass, replace
from pathlib import Path

from unet3d.config.compose import compose_config
from unet3d.config.schema import Config, ScalingConfig
from unet3d.errors import ConfigError
from unet3d.files import read_text, write_text
from unet3d.logs import quiet_start
from unet3d.scaling.cells import Cell, cell_overrides, divides, epochs_of, plan_cells
from unet3d.scaling.devices import StudyDevices, find_devices
from unet3d.scaling.measure import measure
from unet3d.scaling.progress import StudyProgress
from unet3d.scaling.study_forecast import forecast_cells
from unet3d.scaling.study_record import StudyRecord, study_server
from unet3d.scaling.study_report import CellResult, StudyFacts, print_table, write_study
from unet3d.scaling.trials import grid_of
from unet3d.sweep.forecast.known_timing import CELLS, study_folder

log = logging.getLogger(__name__)
STUDY = "study.json"  # what the study is of
SEEDS = 4  # trials, where neither a grid nor scaling.trials says how many


@dataclass(frozen=True)
class StudyPlan:
    """What to measure. config: of the first trial; seeds: trials that differ in that alone."""

    config: Config
    configs: Sequence[Config]
    seeds: int
    facts: StudyFacts
    devices: StudyDevices
    cells: Sequence[Cell]
    folder: Path


def scaling_command(settings: ScalingConfig, overrides: Sequence[str]) -> Path:
    """Measure what is missing of the study, and write its table, pictures and page.

    overrides: of its trials, perhaps a grid. Returns the study's folder. Raises ConfigError before
    any work for what cannot be measured, DataError for data on which it cannot, RunError where a
    cell fails.
    """
    plan = plan_study(settings, overrides)
    done = {cell.name: found for cell in plan.cells if (found := _read(plan.folder, cell))}
    missing = [cell for cell in plan.cells if cell.name not in done]
    weak = plan.facts.weak
    if missing:
        with quiet_start():  # reading checkpoints imports it, which would write into the table
            import tensorflow  # noqa: F401
        _make_stores(plan.configs)
    with ExitStack() as stack:
        stack.enter_context(study_server(plan.config))
        record = stack.enter_context(StudyRecord(plan.config, plan.folder, plan.facts))
        forecasts: dict[str, float] = {}
        if settings.scaling.runs and missing:
            runs, trials = settings.scaling.runs, plan.facts.trials
            forecasts = forecast_cells(missing, plan.configs, trials, runs, plan.devices, weak)
        progress = stack.enter_context(StudyProgress(plan.cells, plan.facts.trials, forecasts))
        for cell in plan.cells:
            if cell.name in done:
                progress.end(cell, done[cell.name].seconds, before=True)
        for cell in missing:
            own = cell_overrides(cell, plan.config, settings, plan.devices, weak, plan.seeds)
            typed = [*overrides, *own, *record.overrides]
            found = measure(cell, plan.config, typed, plan.folder, progress)
            found = replace(found, forecast=forecasts.get(cell.name))
            write_text(_file(plan.folder, cell), json.dumps(asdict(found), indent=1))
        results = [cell_result(path) for path in sorted((plan.folder / CELLS).glob("*.json"))]
        files = write_study(results, plan.folder, plan.facts)
        record.keep(results, files)
    print_table(results)
    print(f"table, pictures and page: {plan.folder}")
    return plan.folder


def _make_stores(configs: Sequence[Config]) -> None:
    """Build what is missing, which is in no part's time, and see that all can train on it."""
    from unet3d.training.setup import make_data

    for number, config in enumerate(configs):
        if all(config.data != before.data for before in configs[:number]):
            make_data(config)


def plan_study(settings: ScalingConfig, overrides: Sequence[str]) -> StudyPlan:
    """What there is to measure. Raises ConfigError for what cannot be, or is of another study."""
    grid = grid_of(overrides)
    configs = [compose_config(list(own)) for own in grid]
    config = configs[0]
    _check_alike(configs)
    seeds = (settings.scaling.trials or SEEDS) if len(grid) == 1 else 0
    if not seeds and settings.scaling.trials not in (None, len(grid)):
        raise ConfigError(
            f"scaling.trials: {settings.scaling.trials} is not possible, as the trials are the "
            f"{len(grid)} of the grid; leave it out"
        )
    folder = study_folder(config.output_dir, settings.scaling.name)
    devices = find_devices(config)
    weak = _weak(config, settings, folder)
    cells = plan_cells(config, settings, devices, weak)
    facts = StudyFacts(
        settings.scaling.name,
        sorted(o for o in overrides if not o.startswith("output_dir=")),
        seeds or len(grid),
        settings.scaling.fraction,
        weak,
        devices.machine,
        devices.device,
    )
    _check_one_device(settings, folder)
    _check_same_study(folder, facts)
    _announce(config, cells, facts, devices, settings)
    configs = [replace(one, epochs=epochs_of(one, settings)) for one in configs]
    return StudyPlan(config, configs, seeds, facts, devices, cells, folder)


def _check_alike(configs: Sequence[Config]) -> None:
    """ConfigError where trials differ in what the study itself sets."""
    if len({(one.epochs, one.batch_size, one.output_dir) for one in configs}) > 1:
        raise ConfigError(
            "epochs, batch_size, output_dir: these are the same for all trials of a study; name "
            "one value of each"
        )


def _weak(config: Config, settings: ScalingConfig, folder: Path) -> bool:
    """scaling.weak; where that is null, as the study began, or as settings or devices need."""
    if settings.scaling.weak is not None:
        return settings.scaling.weak
    kept = json.loads(read_text(folder / STUDY) or "{}").get("weak")
    if kept is not None:
        return bool(kept)
    return config.batch_per_replica is not None or not divides(config, settings)


def _announce(
    config: Config,
    cells: Sequence[Cell],
    facts: StudyFacts,
    devices: StudyDevices,
    settings: ScalingConfig,
) -> None:
    scaled = "of a replica" if facts.weak else "of all replicas"
    log.info(
        "scaling: %d parts of %d trials with %d epochs each; batch_size=%d is that %s; on %s",
        len(cells),
        facts.trials,
        epochs_of(config, settings),
        config.batch_size,
        scaled,
        devices.machine,
    )


def _check_one_device(settings: ScalingConfig, folder: Path) -> None:
    if 1 not in settings.devices and not list((folder / CELLS).glob("*-1-*.json")):
        raise ConfigError(
            f"devices: {settings.devices} lacks 1, against which speed-ups are counted; add it"
        )


def _check_same_study(folder: Path, facts: StudyFacts) -> None:
    """Keep what the study is of; ConfigError where its folder is of another."""
    asked = asdict(facts)
    text = read_text(folder / STUDY)
    if text is None:
        (folder / CELLS).mkdir(parents=True, exist_ok=True)
        write_text(folder / STUDY, json.dumps(asked, indent=1))
        return
    kept = json.loads(text)
    differ = [key for key in asked if key in kept and kept[key] != asked[key]]
    if differ:
        shown = "; ".join(f"{key} was {kept.get(key)}, and is {asked[key]}" for key in differ)
        raise ConfigError(
            f"scaling.name: {folder} is a study with other settings: {shown}. Choose another "
            "scaling.name, or type the same again: only devices, modes and repeats may be added"
        )


def _file(folder: Path, cell: Cell) -> Path:
    return folder / CELLS / f"{cell.name}.json"


def _read(folder: Path, cell: Cell) -> CellResult | None:
    path = _file(folder, cell)
    return cell_result(path) if path.exists() else None


def cell_result(path: Path) -> CellResult:
    """What is kept of a cell."""
    return CellResult(**json.loads(path.read_text()))
