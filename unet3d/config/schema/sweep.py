"""Settings of a search over those of a training."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Optional

from unet3d.config.allowed import (
    AT_LEAST_0,
    AT_LEAST_1,
    AT_LEAST_2,
    FOLDER_NAME,
    POSITIVE,
    SAMPLER_SEED,
    SHARE_TO_HALF,
    TIME,
    one_of,
)
from unet3d.config.setting import NO_EFFECT, setting


@dataclass
class SweepConfig:
    """How a sweep chooses its trials, repeats lost ones and stops poor ones."""

    name: Optional[str] = setting(
        None,
        "name of its folder; null: made from what is swept, so that the same command resumes it",
        FOLDER_NAME,
        NO_EFFECT,
    )
    retries: int = setting(
        2, "times that a lost trial starts again from its checkpoint", AT_LEAST_0, NO_EFFECT
    )
    early_stopping: str = setting(
        "none",
        "how trials that fall behind in val/dice are stopped",
        one_of("none", "asha", "hyperband", "median"),
        NO_EFFECT,
    )
    min_epochs: int = setting(
        1, "asha, hyperband, median: epochs before a trial may be stopped", AT_LEAST_1, NO_EFFECT
    )
    reduction_factor: int = setting(
        3, "asha, hyperband, fidelity: one trial in so many continues", AT_LEAST_2, NO_EFFECT
    )
    startup_trials: int = setting(
        5, "median: trials that end before any is stopped", AT_LEAST_1, NO_EFFECT
    )
    trials: int = setting(20, "hydra/sweeper=optuna: number of trials", AT_LEAST_1, NO_EFFECT)
    sampler: str = setting(
        "tpe",
        "hydra/sweeper=optuna: how it chooses the next trial",
        one_of("tpe", "random", "qmc", "cmaes", "gp", "nsga2"),
        NO_EFFECT,
    )
    seed: int = setting(0, "hydra/sweeper=optuna: seed of the sampler", SAMPLER_SEED, NO_EFFECT)
    storage: Optional[str] = setting(
        None,
        "hydra/sweeper=optuna: SQLAlchemy URL of the study; null: a file in the sweep's folder",
        effect=NO_EFFECT,
        path=True,
    )
    minimize: str = setting(
        "none",
        "hydra/sweeper=optuna: what a trial shall need little of, beside a high val/dice; hours: "
        "of devices; parameters: of the network; none: val/dice alone counts",
        one_of("none", "hours", "parameters"),
        NO_EFFECT,
        newer=True,
    )
    population: Optional[int] = setting(
        None,
        "sampler=nsga2: trials of a generation; null: a fifth of sweep.trials, at least 4",
        AT_LEAST_2,
        NO_EFFECT,
        newer=True,
    )
    fidelity: Optional[str] = setting(
        None,
        "successive halving of a grid over this setting, such as data.train_share: all trials with "
        "the first value of sweep.rungs, one in sweep.reduction_factor again with the next",
        effect=NO_EFFECT,
        newer=True,
    )
    rungs: Any = setting(
        None,
        "values of sweep.fidelity, the cheapest first: [0.11,0.33,1]",
        effect=NO_EFFECT,
        newer=True,
    )
    perturbation_interval: Optional[int] = setting(
        None,
        "population based training of a grid: after so many epochs, and again, the worst trials "
        "continue from weights of the best ones, with numbers 0.8 or 1.2 times theirs; null: no",
        AT_LEAST_1,
        NO_EFFECT,
        newer=True,
    )
    quantile_fraction: float = setting(
        0.25,
        "perturbation_interval: share of the trials that are the worst, and that are the best",
        SHARE_TO_HALF,
        NO_EFFECT,
        newer=True,
    )
    grow: str = setting(
        "auto",
        "whether a running trial continues on devices that no other trial needs; auto: where that "
        "pays and leaves the result as it is; always: where it pays, also with model.norm=batch "
        "and other settings by which replicas change the result",
        one_of("auto", "always", "off"),
        NO_EFFECT,
        newer=True,
    )
    forecast: bool = setting(
        True,
        "forecast the sweep beside its first trials, where runs in output_dir say how long they "
        "take, and compare at its end",
        effect=NO_EFFECT,
        newer=True,
    )
    folds: Optional[int] = setting(
        None,
        "train each configuration on every one of so many cross-validation folds; null: as "
        "data.fold says",
        AT_LEAST_2,
        NO_EFFECT,
        newer=True,
    )
    seeds: int = setting(
        1,
        "train each configuration with the seeds 0, 1, ..., so many; 1: with that of the run",
        AT_LEAST_1,
        NO_EFFECT,
        newer=True,
    )
    racing: bool = setting(
        False,
        "drop a configuration when a paired test over the folds or seeds done so far says that it "
        "will not be the best, and train the close ones with further seeds for what is saved",
        effect=NO_EFFECT,
        newer=True,
    )
    max_seeds: Optional[int] = setting(
        None,
        "racing: seeds with which a close configuration is trained at the most; null: twice "
        "sweep.seeds, at least 3",
        AT_LEAST_1,
        NO_EFFECT,
        newer=True,
    )
    budget: Optional[float] = setting(
        None,
        "device hours that the sweep may take in all, those of earlier commands included: no trial "
        "begins that would pass it, running ones are saved; null: no limit",
        POSITIVE,
        NO_EFFECT,
        newer=True,
    )
    deadline: Optional[str] = setting(
        None,
        "when the sweep is to be over, as 2026-12-01T08:00, by this machine's clock unless it ends "
        "in +00:00: no trial begins that would pass it, running ones are saved; null: no limit",
        TIME,
        NO_EFFECT,
        newer=True,
    )
    probe: bool = setting(
        False,
        "before the sweep, or with dry_run=true, measure memory and time of each kind of trial by "
        "a few steps of its training on this machine, in place of the forecast",
        effect=NO_EFFECT,
        newer=True,
    )
    price: Optional[float] = setting(
        None, "of a device hour, for dry_run=true", AT_LEAST_0, NO_EFFECT, newer=True
    )
