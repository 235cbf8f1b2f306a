"""Configurations of a sweep: each is trained once, or on each of several folds and seeds."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from statistics import mean, stdev

from unet3d.config.schema import SweepConfig
from unet3d.errors import ConfigError, RunError
from unet3d.sweep.sweep_folder import TrialRecord, find_sweep

FOLDS, FOLD, SEED = "data.folds", "data.fold", "seed"


@dataclass(frozen=True)
class Configuration:
    """The trials that differ by fold and seed alone. name: what the sweep varies else."""

    name: str
    trials: tuple[TrialRecord, ...]

    @property
    def values(self) -> list[float]:
        """The best val/dice of each trial that has finished, of its own validation cases."""
        found = [trial.result for trial in self.trials if trial.result.state == "finished"]
        return [result.best for result in found if result.best is not None]

    @property
    def mean(self) -> float:
        """Of `values`, which must be there."""
        return mean(self.values)

    def __str__(self) -> str:
        """As in "lr=0.001: val/dice 0.8420, deviation 0.0060, of 5 trials"."""
        values, count = self.values, len(self.trials)
        if not values:
            return f"{self.name}: none of {count} trials has finished"
        spread = f", deviation {stdev(values):.4f}" if len(values) > 1 else ""
        of = f"{len(values)} of {count} trials" if len(values) < count else f"{count} trials"
        return f"{self.name}: val/dice {self.mean:.4f}{spread}, of {of}"


def repeated(overrides: Sequence[Sequence[str]], sweep: SweepConfig) -> list[list[str]]:
    """The overrides of each configuration, once for each fold and seed.

    Raises ConfigError where they set the fold or the seed themselves.
    """
    folds: list[list[str]] = [[]]
    seeds: list[list[str]] = [[]]
    if sweep.folds is not None:
        _refuse(overrides, "sweep.folds", (FOLDS, FOLD))
        folds = [[f"{FOLDS}={sweep.folds}", f"{FOLD}={fold}"] for fold in range(sweep.folds)]
    if sweep.seeds > 1:
        _refuse(overrides, "sweep.seeds", (SEED,))
        seeds = [[f"{SEED}={seed}"] for seed in range(sweep.seeds)]
    return [[*own, *fold, *seed] for own in overrides for fold in folds for seed in seeds]


def _refuse(overrides: Sequence[Sequence[str]], setting: str, keys: Sequence[str]) -> None:
    for override in (one for own in overrides for one in own):
        if override.lstrip("+").partition("=")[0] in keys:
            raise ConfigError(f"{setting}: sets {' and '.join(keys)} itself; leave out {override}")


def configurations(trials: Sequence[TrialRecord]) -> list[Configuration]:
    """The trials by configuration, the highest mean first."""
    groups: dict[tuple[tuple[str, str], ...], list[TrialRecord]] = {}
    for trial in trials:
        own = ((key, text) for key, text in trial.swept.items() if key not in (FOLDS, FOLD, SEED))
        groups.setdefault(tuple(own), []).append(trial)
    found = [
        Configuration(", ".join(f"{key}={text}" for key, text in own) or "all", tuple(members))
        for own, members in groups.items()
    ]
    return sorted(found, key=lambda one: -one.mean if one.values else 1.0)


def runs_of_best(output_dir: str, name: str) -> list[str]:
    """The runs of the configuration with the highest mean val/dice, those that have finished.

    Raises RunError for a sweep that is not there, or has no finished trial.
    """
    best, *_ = [*configurations(find_sweep(output_dir, name).trials()), Configuration("", ())]
    runs = [trial.result.run_id for trial in best.trials if trial.result.state == "finished"]
    if not runs:
        raise RunError(f"sweep: none of the trials of {name} has finished")
    return runs
