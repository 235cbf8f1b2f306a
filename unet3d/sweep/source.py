"""Where trials come from, and what their results are told to: a grid, or an adaptive study."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable
from typing import Any, Protocol

from unet3d.config import SweepConfig
from unet3d.sweep.trial import Ended, Trial

log = logging.getLogger(__name__)


class Source(Protocol):
    """Trials one by one, and the study that judges those under way."""

    def next(self) -> Trial | None: ...
    def falls_behind(self, trial: Trial, epoch: int, value: float) -> bool: ...
    def tell(self, trial: Trial, ended: Ended) -> None: ...


class Grid:
    """The trials that Hydra's own sweeper lists. Optuna judges them when early stopping is on."""

    def __init__(self, trials: Iterable[Trial], settings: SweepConfig):
        self.waiting = iter(trials)
        self.study = _quiet_study(pruner=make_pruner(settings)) if stops_early(settings) else None
        self.asked: dict[int, Any] = {}

    def next(self) -> Trial | None:
        """The next of the list, None after the last."""
        trial = next(self.waiting, None)
        if trial is not None and self.study is not None:
            self.asked[trial.number] = self.study.ask()
        return trial

    def falls_behind(self, trial: Trial, epoch: int, value: float) -> bool:
        """Whether the trial is to be stopped after val/dice `value` at `epoch`."""
        return self.study is not None and judged(self.asked[trial.number], epoch, value)

    def tell(self, trial: Trial, ended: Ended) -> None:
        """How the trial ended."""
        if self.study is not None:
            tell_study(self.study, self.asked[trial.number], ended)


class Adaptive:
    """Trials that an Optuna study asks for; it is kept in a data base and goes on from there.

    make_trial: (number, {key: value}) -> Trial. distributions: Optuna's, by key.
    """

    def __init__(
        self,
        study: Any,
        distributions: dict[str, Any],
        make_trial: Callable[[int, dict[str, Any]], Trial],
        trials: int,
    ):
        self.study, self.distributions = study, distributions
        self.make_trial = make_trial
        self.asked: dict[int, Any] = {}
        self.left = trials - self._ask_again()

    def _ask_again(self) -> int:
        """Queue what an earlier command left open, or what failed; how many trials are over."""
        from optuna.trial import TrialState

        trials = self.study.get_trials(deepcopy=False)
        of = {state: [t for t in trials if t.state == state] for state in TrialState}
        over = [*of[TrialState.COMPLETE], *of[TrialState.PRUNED]]
        settled = [t.params for t in over]
        settled += [t.system_attrs.get("fixed_params") for t in of[TrialState.WAITING]]
        for trial in [*of[TrialState.RUNNING], *of[TrialState.FAIL]]:
            if trial.state == TrialState.RUNNING:
                self.study.tell(trial.number, state=TrialState.FAIL)
            if trial.params and trial.params not in settled:
                self.study.enqueue_trial(trial.params)
                settled.append(trial.params)
        return len(over)

    def next(self) -> Trial | None:
        """What the study asks for next, until there are as many as wanted."""
        if self.left <= 0:
            return None
        self.left -= 1
        asked = self.study.ask(self.distributions)
        trial = self.make_trial(asked.number, asked.params)
        self.asked[trial.number] = asked
        return trial

    def falls_behind(self, trial: Trial, epoch: int, value: float) -> bool:
        """Whether the trial is to be stopped after val/dice `value` at `epoch`."""
        return judged(self.asked[trial.number], epoch, value)

    def tell(self, trial: Trial, ended: Ended) -> None:
        """How the trial ended; the study learns from it."""
        tell_study(self.study, self.asked[trial.number], ended)


def stops_early(settings: SweepConfig) -> bool:
    """Whether trials that fall behind are stopped."""
    return settings.early_stopping != "none"


def judged(asked: Any, epoch: int, value: float) -> bool:
    """Tell Optuna an epoch's value; True where its pruner gives the trial up."""
    asked.report(value, epoch)
    return asked.should_prune()


def tell_study(study: Any, asked: Any, ended: Ended) -> None:
    """Tell Optuna how a trial ended; one that the user stopped stays open."""
    from optuna.trial import TrialState

    if ended.state == "pruned":
        study.tell(asked, state=TrialState.PRUNED)
    elif ended.state == "finished" and ended.best is not None:
        study.tell(asked, ended.best)
    elif ended.state == "failed":
        study.tell(asked, state=TrialState.FAIL)


def make_pruner(settings: SweepConfig) -> Any:
    """Optuna's pruner: asynchronous successive halving (Li et al. 2020), the median rule, none."""
    from optuna import pruners

    if settings.early_stopping == "asha":
        return pruners.SuccessiveHalvingPruner(
            min_resource=settings.min_epochs, reduction_factor=settings.reduction_factor
        )
    if settings.early_stopping == "median":
        return pruners.MedianPruner(
            n_startup_trials=settings.startup_trials, n_warmup_steps=settings.min_epochs
        )
    return pruners.NopPruner()


def _quiet_study(**settings: Any) -> Any:
    import optuna

    optuna.logging.set_verbosity(optuna.logging.WARNING)
    return optuna.create_study(direction="maximize", **settings)


def make_study(settings: SweepConfig, name: str, url: str) -> Any:
    """The study in its data base, new or as it was left.

    Raises RunError where the data base cannot be used, or a sampler lacks its package.
    """
    import optuna

    from unet3d.training.errors import RunError

    try:
        study = _quiet_study(
            study_name=name,
            storage=optuna.storages.RDBStorage(url),
            load_if_exists=True,
            pruner=make_pruner(settings),
        )
        before = len(study.get_trials(deepcopy=False))
    except Exception as error:
        reason = str(error).splitlines()[0][:200]
        raise RunError(f"sweep.storage: {url} cannot be used ({reason})") from error
    try:
        study.sampler = _make_sampler(settings, before)
    except ImportError as error:
        raise RunError(
            f"sweep.sampler: {settings.sampler} needs a package ({error}); install it, or type "
            "sweep.sampler=tpe"
        ) from error
    return study


def _make_sampler(settings: SweepConfig, before: int) -> Any:
    """before: trials that the study has, as a sampler of the same seed would draw them again."""
    from optuna import samplers

    seed = settings.seed + before
    if settings.sampler == "tpe":
        # The value of a trial under way counts as poor, so that two slots do not try the same.
        return samplers.TPESampler(seed=seed, constant_liar=True)
    if settings.sampler == "cmaes":
        import cmaes  # noqa: F401, asked for here, where its absence can be told

        return samplers.CmaEsSampler(seed=seed)
    if settings.sampler == "gp":
        import torch  # noqa: F401

        return samplers.GPSampler(seed=seed)
    if settings.sampler == "qmc":  # its place in the sequence is kept in the study
        return samplers.QMCSampler(seed=settings.seed)
    return samplers.RandomSampler(seed=seed)
