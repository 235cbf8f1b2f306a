"""Configurations of a sweep: each is trained once, or on each of several folds and seeds."""

from __future__ import annotations

import hashlib
import logging
import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from statistics import mean, stdev

import numpy as np

from unet3d.config.schema import SweepConfig
from unet3d.errors import ConfigError, RunError
from unet3d.inference.ensemble import Ensemble
from unet3d.sweep.format import shown
from unet3d.sweep.kept_ensemble import NAME as KEPT
from unet3d.sweep.kept_ensemble import read_ensemble
from unet3d.sweep.statistics.comparison import best_first
from unet3d.sweep.sweep_folder import TrialRecord, at_top_rung, find_sweep

log = logging.getLogger(__name__)
FOLDS, FOLD, SEED = "data.folds", "data.fold", "seed"


@dataclass(frozen=True)
class Configuration:
    """The trials that differ by fold and seed alone. name: what the sweep varies else."""

    name: str
    trials: tuple[TrialRecord, ...]

    @property
    def finished(self) -> list[TrialRecord]:
        """The trials that have finished with a val/dice."""
        over = [trial for trial in self.trials if trial.result.state == "finished"]
        return [trial for trial in over if _is_number(trial.result.best)]

    @property
    def values(self) -> list[float]:
        """The best val/dice of each trial that has finished, of its own validation cases."""
        return [trial.result.best for trial in self.finished if trial.result.best is not None]

    @property
    def mean(self) -> float:
        """Of `values`, which must be there."""
        return mean(self.values)

    def is_called(self, wanted: str) -> bool:
        """Whether a user means this one: by its name, or with the settings' full keys."""
        typed = (f"{key}={text}" for key, text in own_settings(self.trials[0].swept).items())
        return wanted.replace(" ", "") in {self.name.replace(" ", ""), ",".join(typed)}

    def __str__(self) -> str:
        """As in "lr=0.001: val/dice 0.8420, deviation 0.0060, of 5 trials"."""
        values, count = self.values, len(self.trials)
        if not values:
            return f"{self.name}: none of {count} trials has finished"
        spread = f", deviation {stdev(values):.4f}" if len(values) > 1 else ""
        of = f"{len(values)} of {count} trials" if len(values) < count else f"{count} trials"
        return f"{self.name}: val/dice {self.mean:.4f}{spread}, of {of}"


def repeats(sweep: SweepConfig) -> bool:
    """Whether a configuration is trained more than once."""
    return sweep.folds is not None or sweep.seeds > 1 or sweep.racing


def most_seeds(sweep: SweepConfig) -> int:
    """Seeds with which a race trains a configuration at the most."""
    return sweep.max_seeds or max(3, 2 * sweep.seeds)


def repeats_of(own: Sequence[str], sweep: SweepConfig, seed: int | None = None) -> list[list[str]]:
    """The overrides of one configuration for each seed and fold, the folds of a seed together.

    seed: only with this one. Raises ConfigError where `own` sets the fold or the seed itself.
    """
    folds: list[list[str]] = [[]]
    seeds: list[list[str]] = [[]]
    if sweep.folds is not None:
        _refuse([own], "sweep.folds", (FOLDS, FOLD))
        folds = [[f"{FOLDS}={sweep.folds}", f"{FOLD}={fold}"] for fold in range(sweep.folds)]
    if sweep.seeds > 1 or sweep.racing:
        _refuse([own], "sweep.racing" if sweep.racing else "sweep.seeds", (SEED,))
        numbers = range(sweep.seeds) if seed is None else [seed]
        seeds = [[f"{SEED}={number}"] for number in numbers]
    return [[*own, *fold, *one] for one in seeds for fold in folds]


def repeated(overrides: Sequence[Sequence[str]], sweep: SweepConfig) -> list[list[str]]:
    """The overrides of each configuration, once for each fold and seed.

    A race goes through all configurations before the next fold. Raises ConfigError where they set
    the fold or the seed themselves.
    """
    each = [repeats_of(own, sweep) for own in overrides]
    return [one for group in (zip(*each, strict=True) if sweep.racing else each) for one in group]


def _refuse(overrides: Sequence[Sequence[str]], setting: str, keys: Sequence[str]) -> None:
    for override in (one for own in overrides for one in own):
        if override.lstrip("+").partition("=")[0] in keys:
            raise ConfigError(f"{setting}: sets {' and '.join(keys)} itself; leave out {override}")


def _is_number(value: float | None) -> bool:
    return value is not None and math.isfinite(value)


def block_of(trial: TrialRecord) -> tuple[str, str]:
    """The fold and the seed of a trial, "" for those that the sweep does not vary."""
    return trial.swept.get(FOLD, ""), trial.swept.get(SEED, "")


def own_settings(swept: Mapping[str, str]) -> dict[str, str]:
    """What a sweep varies but for folds and seeds."""
    return {key: text for key, text in swept.items() if key not in (FOLDS, FOLD, SEED)}


def configuration_name(swept: Mapping[str, str]) -> str:
    """As a trial is named: by the last word of each key, where these are unequal."""
    own = own_settings(swept)
    last = {key: key.rpartition(".")[2] for key in own}
    unique = len(set(last.values())) == len(last)
    named = (f"{last[key] if unique else key}={shown(text)}" for key, text in own.items())
    return ", ".join(named) or "all"


def configurations(trials: Sequence[TrialRecord]) -> list[Configuration]:
    """The trials by configuration, the highest mean first, those without a finished trial last.

    Where trials are missing the means are those of `best_first`, which folds that are easier than
    others do not raise.
    """
    groups: dict[tuple[tuple[str, str], ...], list[TrialRecord]] = {}
    for trial in trials:
        groups.setdefault(tuple(own_settings(trial.swept).items()), []).append(trial)
    found = [
        Configuration(configuration_name(dict(own)), tuple(members))
        for own, members in groups.items()
    ]
    blocks = {block: at for at, block in enumerate(sorted({block_of(trial) for trial in trials}))}
    table = np.full((len(found), len(blocks)), math.nan)
    for row, one in enumerate(found):
        for trial in one.finished:
            table[row, blocks[block_of(trial)]] = trial.result.best
    return [found[at] for at in best_first(table)]


def find_ensemble(output_dir: str, name: str, wanted: str | None = None) -> Ensemble:
    """The finished runs of a sweep's configuration, together.

    wanted: as `Configuration.name`, or `ensemble` for what `unet3d ensemble` has chosen; None: the
    one with the highest mean val/dice. Warns of trials that have not finished. Raises RunError for
    a sweep or configuration that is not there, or has no finished trial.
    """
    sweep = find_sweep(output_dir, name)
    if wanted == KEPT:
        return read_ensemble(sweep)
    found = configurations(at_top_rung(sweep.trials()))
    chosen = [one for one in found if wanted is None or one.is_called(wanted)]
    if wanted is not None and not chosen:
        names = "; ".join(one.name.replace(", ", ",") for one in found)
        raise RunError(f"configuration: {wanted} is not in {name}, which has: {names}")
    one = chosen[0] if chosen else Configuration("all", ())
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


def _folder_name(configuration: str) -> str:
    """A configuration's name as a folder's; where that is not the name itself, with a digest."""
    plain = configuration.replace(", ", ",")
    kept = re.sub(r"[^\w.,=-]", "_", plain)[:80]
    if kept == plain:
        return kept
    return f"{kept}-{hashlib.sha256(plain.encode()).hexdigest()[:6]}"
