"""The trials of a sweep that is to be simulated, and what each of them asks for."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from unet3d.config.command_line import prepare_overrides
from unet3d.config.compose import compose_config, conf_dir, register_schema
from unet3d.config.schema import Config, SimulateConfig
from unet3d.errors import DataError, RunError
from unet3d.planning.simulated import SimulatedTrial
from unet3d.preprocessing.preprocess import find_store
from unet3d.preprocessing.store import Store, StoredCase
from unet3d.sampling.split import make_split
from unet3d.sweep.sweep_folder import find_sweep
from unet3d.training.measured_run import measured_runs
from unet3d.training.run_cost import run_cost


@dataclass(frozen=True)
class Study:
    """Trials to simulate. assumed: what is not known of their data, in words; "" where it is.

    per_replica: whether their settings give the batch of a replica.
    """

    name: str
    trials: tuple[SimulatedTrial, ...]
    assumed: str = ""
    per_replica: bool = False


def trials_of_sweep(output_dir: str, name: str) -> Study:
    """The trials of a sweep that has run, each as far as it came.

    Raises RunError where there is no such sweep, or none of its trials has finished an epoch.
    """
    records = sorted(find_sweep(output_dir, name).trials(), key=lambda one: one.number)
    runs = measured_runs(output_dir, [record.result.run_id for record in records])
    costs, found = {run.id: run.cost for run in runs}, []
    for record in records:
        if (cost := costs.get(record.result.run_id)) is not None:
            pruned = record.result.epochs if record.result.state == "pruned" else None
            found.append(SimulatedTrial(record.name, cost, pruned))
    if not found:
        raise RunError(f"sweep: no trial of {name} has finished an epoch")
    return Study(name, tuple(found))


def trials_of_settings(overrides: Sequence[str], settings: SimulateConfig) -> Study:
    """The trials of a grid as `sweep.py -m` would make it, on the data at data.root.

    Where these are not there, on `settings.cases` volumes of `settings.volume` voxels.
    """
    grid = grid_of(overrides)
    configs = [compose_config(list(own)) for own in grid]
    store, assumed = _store(configs[0], settings)
    outputs = len(configs[0].data.regions or {}) or len(store.labels)
    trials = []
    for number, config in enumerate(configs):
        split = make_split(store.cases, config.data, store.source)
        trials.append(SimulatedTrial(f"trial {number}", run_cost(config, store, split, outputs)))
    name = next((o.partition("=")[2] for o in overrides if o.startswith("experiment=")), "sweep")
    per_replica = any(config.batch_per_replica is not None for config in configs)
    return Study(name, tuple(trials), assumed, per_replica)


def grid_of(overrides: Sequence[str]) -> list[tuple[str, ...]]:
    """The overrides of each trial: those typed, and hydra.sweeper.params of a preset."""
    from hydra import compose, initialize_config_dir
    from hydra._internal.core_plugins.basic_sweeper import BasicSweeper
    from hydra.core.override_parser.overrides_parser import OverridesParser

    register_schema()
    prepared = prepare_overrides(overrides)
    parser = OverridesParser.create()
    parsed = parser.parse_overrides(prepared)
    fixed = [str(o.input_line) for o in parsed if not o.is_sweep_override()]
    with initialize_config_dir(str(conf_dir()), version_base="1.3"):
        composed = compose("sweep", overrides=fixed, return_hydra_config=True)
    params = composed.hydra.sweeper.get("params") or {}
    typed = {override.partition("=")[0] for override in prepared}
    lines = [f"{key}={value}" for key, value in params.items() if key not in typed]
    (grid,) = BasicSweeper.split_arguments(parser.parse_overrides([*prepared, *lines]), None)
    return [tuple(own) for own in grid]


def _store(config: Config, settings: SimulateConfig) -> tuple[Store, str]:
    try:
        found = find_store(config.data)
        if found is not None:
            return found, ""
        reason = "their store is not built"
    except DataError:
        reason = f"there are none at {config.data.root}"
    x, y, z = settings.volume
    cases = {
        name: StoredCase(name, (x, y, z), settings.sequences, (1.0, 1.0, 1.0), (1,))
        for name in (f"case_{index:05d}" for index in range(settings.cases))
    }
    channels = tuple(f"sequence {index}" for index in range(settings.sequences))
    store = Store(Path(), "", "", channels, {1: "foreground"}, cases, {})
    size = "x".join(map(str, settings.volume))
    return store, f"{settings.cases} volumes of {size} voxels are assumed, as {reason}"
