"""Configurations of a sweep: each is trained once, or on each of several folds and seeds."""

from __future__ import annotations

import hashlib
import logging
import re
from collections.abc import Sequence
from dataclasses import dataclass
from statistics import mean, stdev

from unet3d.config.schema import SweepConfig
from unet3d.errors import ConfigError, RunError
from unet3d.inference.ensemble import Ensemble
from unet3d.sweep.sweep_folder import TrialRecord, find_sweep

log = logging.getLogger(__name__)
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


def find_ensemble(output_dir: str, name: str, wanted: str | None = None) -> Ensemble:
    """The finished runs of a sweep's configuration, together.

    wanted: as `Configuration.name`; None: the one with the highest mean val/dice. Warns of trials
    that have not finished. Raises RunError for a sweep or configuration that is not there, or has
    no finished trial.
    """
    sweep = find_sweep(output_dir, name)
    found = configurations(sweep.trials())
    if wanted is not None and not any(_same(one.name, wanted) for one in found):
        names = "; ".join(one.name.replace(", ", ",") for one in found)
        raise RunError(f"configuration: {wanted} is not in {name}, which has: {names}")
    for one in found:
        if wanted is None or _same(one.name, wanted):
            break
    else:
        one = Configuration("all", ())
    runs = [trial.result.run_id for trial in one.trials if trial.result.state == "finished"]
    if not runs:
        of = f"configuration {wanted} of {name}" if wanted else name
        raise RunError(f"sweep: none of the trials of {of} has finished")
    if len(runs) < len(one.trials):
        log.warning(
            "sweep: %d of %d trials of %s have finished; the others are left out",
            len(runs),
            len(one.trials),
            one.name,
        )
    typed = f"sweep={name}"
    if wanted is not None:
        typed += f" configuration={wanted.replace(' ', '')}"
    return Ensemble(
        tuple(runs),
        typed,
        sweep.path / "configurations" / _folder_name(one.name),
        sweep.facts().run_id,
        folds=any(FOLD in trial.swept for trial in one.trials),
    )


def _same(name: str, wanted: str) -> bool:
    return name.replace(" ", "") == wanted.replace(" ", "")


def _folder_name(configuration: str) -> str:
    """A configuration's name as a folder's; where that is not the name itself, with a digest."""
    plain = configuration.replace(", ", ",")
    kept = re.sub(r"[^\w.,=-]", "_", plain)[:80]
    if kept == plain:
        return kept
    return f"{kept}-{hashlib.sha256(plain.encode()).hexdigest()[:6]}"
