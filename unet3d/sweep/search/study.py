"""Optuna's side of a search: the study in its database, who proposes, and who is stopped."""

from __future__ import annotations

import logging
from typing import Any

from unet3d.config.schema import SweepConfig
from unet3d.errors import RunError, in_a_line
from unet3d.sweep.trial import TrialResult

log = logging.getLogger(__name__)
TPE_STARTUP = 10  # trials that Optuna's TPE draws at random, of each bracket by itself


def judge(asked: Any, epoch: int, value: float) -> bool:
    """Report an epoch's value to Optuna; True where its pruner stops the trial."""
    asked.report(value, epoch)
    return asked.should_prune()


def tell_study(study: Any, asked: Any, result: TrialResult, minimize: str = "none") -> None:
    """Report to Optuna how a trial ended; one that the user stopped stays open."""
    from optuna.trial import TrialState

    if result.state == "pruned":
        study.tell(asked, state=TrialState.PRUNED)
    elif result.state == "finished" and result.best is not None:
        cost = cost_of(result, minimize)
        study.tell(asked, result.best if cost is None else [result.best, cost])
    elif result.state == "failed":
        study.tell(asked, state=TrialState.FAIL)


def cost_of(result: TrialResult, minimize: str) -> float | None:
    """Of what a trial shall have taken little, None where val/dice alone counts."""
    taken = {"hours": result.device_seconds / 3600, "parameters": float(result.parameters)}
    return taken.get(minimize)


def make_pruner(settings: SweepConfig, epochs: int) -> Any:
    """Optuna's pruner: asynchronous successive halving (Li et al. 2020), Hyperband's brackets of it
    (Li et al. 2018), median rule or none.

    epochs: of the longest trial.
    """
    from optuna import pruners

    if settings.early_stopping == "asha":
        return pruners.SuccessiveHalvingPruner(
            min_resource=settings.min_epochs, reduction_factor=settings.reduction_factor
        )
    if settings.early_stopping == "hyperband":
        return pruners.HyperbandPruner(
            min_resource=settings.min_epochs,
            max_resource=epochs,  # what "auto" would learn from the first trial that ends
            reduction_factor=settings.reduction_factor,
        )
    if settings.early_stopping == "median":
        return pruners.MedianPruner(
            n_startup_trials=settings.startup_trials, n_warmup_steps=settings.min_epochs
        )
    return pruners.NopPruner()


def brackets(settings: SweepConfig, epochs: int) -> list[int]:
    """The epoch from which on the trials of each of Hyperband's brackets may be stopped."""
    first, starts = settings.min_epochs, []
    while first <= epochs:
        starts.append(first)
        first *= settings.reduction_factor
    return starts


def log_brackets(settings: SweepConfig, epochs: int, trials: int | None = None) -> None:
    """Say what Hyperband does. trials: of an adaptive search, None of a grid."""
    if settings.early_stopping != "hyperband":
        return
    starts = brackets(settings, epochs)
    listed = ", ".join(map(str, starts))
    log.info("hyperband: %d brackets; their trials may stop from epoch %s", len(starts), listed)
    needed = TPE_STARTUP * len(starts)
    if trials is not None and settings.sampler == "tpe" and trials < needed:
        log.warning(
            "sweep.trials: of %d trials few or none are proposed from others, as TPE learns from "
            "each bracket by itself, after %d trials in it; use sweep.trials=%d or more",
            trials,
            TPE_STARTUP,
            needed,
        )


def quiet_study(**settings: Any) -> Any:
    """A study of Optuna's that logs warnings alone; the highest value is the best, unless
    `directions` are given."""
    import optuna

    optuna.logging.set_verbosity(optuna.logging.WARNING)
    return optuna.create_study(**{"direction": "maximize"} | settings)


def make_study(settings: SweepConfig, name: str, url: str, epochs: int = 1) -> Any:
    """The study in its database, new or as it was left. epochs: of the longest trial.

    Raises RunError where the database cannot be used, or a sampler lacks its package.
    """
    import optuna

    try:
        study = quiet_study(
            study_name=name,
            storage=optuna.storages.RDBStorage(url),
            load_if_exists=True,
            **_judged(settings, epochs),
        )
        before = len(study.get_trials(deepcopy=False))
    except Exception as error:
        raise RunError(f"sweep.storage: {url} cannot be used ({in_a_line(error)})") from error
    if (begun := len(study.directions)) != (2 if settings.minimize != "none" else 1):
        raise RunError(
            f"sweep.minimize: {settings.minimize} cannot go on with the study {name}, which has "
            f"{begun} objective{'s' if begun > 1 else ''}; choose another sweep.name"
        )
    try:
        study.sampler = make_sampler(settings, before)
    except ImportError as error:
        raise RunError(
            f"sweep.sampler: {settings.sampler} needs a package ({error}); install it, or type "
            "sweep.sampler=tpe"
        ) from error
    return study


def _judged(settings: SweepConfig, epochs: int) -> dict[str, Any]:
    """What a study's trials are judged by."""
    if settings.minimize == "none":
        return {"pruner": make_pruner(settings, epochs)}
    return {"directions": ["maximize", "minimize"], "direction": None}


def make_sampler(settings: SweepConfig, before: int) -> Any:
    """before: how many trials the study has; a sampler of the same seed would repeat them."""
    from optuna import samplers

    seed = settings.seed + before
    if settings.sampler == "tpe":
        # A running trial counts as poor, so that two slots do not try the same values.
        return samplers.TPESampler(seed=seed, constant_liar=True)
    if settings.sampler == "cmaes":
        import cmaes  # noqa: F401, imported here, where a missing package becomes a message

        return samplers.CmaEsSampler(seed=seed)
    if settings.sampler == "gp":
        import torch  # noqa: F401

        return samplers.GPSampler(seed=seed)
    if settings.sampler == "nsga2":
        population = settings.population or max(4, settings.trials // 5)
        return samplers.NSGAIISampler(population_size=population, seed=seed)
    if settings.sampler == "qmc":  # its place in the sequence is kept in the study
        return samplers.QMCSampler(seed=settings.seed)
    return samplers.RandomSampler(seed=seed)
