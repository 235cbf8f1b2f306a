"""Where trials come from and their results go: a grid, or an adaptive study."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from typing import Any, Protocol

from unet3d.config.schema import AUTO, Config, SweepConfig
from unet3d.sweep.configurations import repeats
from unet3d.sweep.search.study import (
    judge,
    log_brackets,
    make_pruner,
    quiet_study,
    tell_study,
)
from unet3d.sweep.trial import Trial, TrialResult


class Search(Protocol):
    """Trials one by one, and the study that judges those that are running.

    may_skip: whether later trials may begin while an earlier one may not.
    """

    may_skip: bool

    @property
    def total(self) -> int:
        """Trials in all, as far as is known."""

    def next(self) -> Trial | None: ...
    def should_prune(self, trial: Trial, epoch: int, value: float) -> bool: ...
    def tell(self, trial: Trial, result: TrialResult) -> None: ...


class EarlyStopping:
    """Judges trials as Optuna does, where early stopping is on: each among those of its own fold
    and seed, as some folds are easier than others."""

    def __init__(self, settings: SweepConfig, epochs: int = 1):
        """epochs: of the longest trial."""
        self.settings, self.on, self.epochs = settings, stops_early(settings), epochs
        self.studies: dict[Any, Any] = {}
        self.asked: dict[int, tuple[Any, Any]] = {}  # study and its trial, by the trial's number

    def begin(self, trial: Trial) -> None:
        """A trial will report its epochs."""
        if not self.on:
            return
        several = repeats(self.settings)
        block = (trial.config.data.fold, trial.config.seed) if several else None
        if block not in self.studies:
            pruner = make_pruner(self.settings, self.epochs)
            # By its name and a trial's number Optuna chooses the bracket: a fixed one, so that the
            # command that resumes a sweep has the same brackets.
            self.studies[block] = quiet_study(pruner=pruner, study_name="grid")
        study = self.studies[block]
        self.asked[trial.number] = study, study.ask()

    def should_prune(self, trial: Trial, epoch: int, value: float) -> bool:
        """Whether the trial shall stop after val/dice `value` at `epoch`."""
        return self.on and judge(self.asked[trial.number][1], epoch, value)

    def end(self, trial: Trial, result: TrialResult) -> None:
        """How the trial ended."""
        if self.on:
            study, asked = self.asked[trial.number]
            tell_study(study, asked, result)


class GridSearch:
    """The trials that Hydra's own sweeper lists. Optuna judges them if early stopping is on."""

    may_skip = True

    def __init__(self, trials: Iterable[Trial], settings: SweepConfig):
        every = list(trials)
        self.total, self.waiting = len(every), iter(every)
        epochs = max((trial.config.epochs for trial in every), default=1)
        self.early_stopping = EarlyStopping(settings, epochs)
        log_brackets(settings, epochs)

    def next(self) -> Trial | None:
        """The next of the list, None after the last."""
        trial = next(self.waiting, None)
        if trial is not None:
            self.early_stopping.begin(trial)
        return trial

    def should_prune(self, trial: Trial, epoch: int, value: float) -> bool:
        """Whether the trial shall stop after val/dice `value` at `epoch`."""
        return self.early_stopping.should_prune(trial, epoch, value)

    def tell(self, trial: Trial, result: TrialResult) -> None:
        """How the trial ended."""
        self.early_stopping.end(trial, result)


class OptunaSearch:
    """Trials that an Optuna study asks for; its database lets a later command resume it.

    make_trial: (number, {key: value}) -> Trial. distributions: Optuna's, by key.
    """

    may_skip = False

    def __init__(
        self,
        study: Any,
        distributions: dict[str, Any],
        make_trial: Callable[[int, dict[str, Any]], Trial],
        trials: int,
        minimize: str = "none",
    ):
        """trials: in all; minimize: as the setting of this name."""
        self.study, self.distributions, self.minimize = study, distributions, minimize
        self.make_trial = make_trial
        self.asked: dict[int, Any] = {}
        self.total = trials
        self.left = trials - self._ask_again()

    def _ask_again(self) -> int:
        """Queue what an earlier command left open and what failed; returns how many are over."""
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
        """What the study asks for next, None after the last."""
        if self.left <= 0:
            return None
        self.left -= 1
        asked = self.study.ask(self.distributions)
        trial = self.make_trial(asked.number, asked.params)
        self.asked[trial.number] = asked
        return trial

    def should_prune(self, trial: Trial, epoch: int, value: float) -> bool:
        """Whether the trial shall stop after val/dice `value` at `epoch`."""
        if len(self.study.directions) > 1:  # Optuna judges by one value alone
            return False
        return judge(self.asked[trial.number], epoch, value)

    def tell(self, trial: Trial, result: TrialResult) -> None:
        """How the trial ended; the study learns from it."""
        tell_study(self.study, self.asked[trial.number], result, self.minimize)


def longest_first(trials: Iterable[Trial]) -> list[Trial]:
    """The order in which a grid starts, so that no long trial begins when the others have ended.

    Trials of the same length keep the grid's order.
    """
    return sorted(trials, key=lambda trial: -relative_length(trial.config))


def relative_length(config: Config) -> float:
    """What tells trials of a sweep apart in length: their voxels, times the width of the network.

    Convolutions take the square of the width. An automatic patch counts as one voxel.
    """
    steps = config.steps_per_epoch
    patches = steps * config.batch_size if steps else config.data.patches_per_case
    voxels = 1 if config.data.patch == AUTO else math.prod(config.data.patch)
    return float(config.epochs * patches * voxels * config.model.filters**2)


def stops_early(settings: SweepConfig) -> bool:
    """Whether trials that fall behind are stopped."""
    return settings.early_stopping != "none"


def search_words(settings: SweepConfig) -> list[str]:
    """How the search differs from plain trials of all, or of TPE's, for the name of a sweep.

    So that two searches over the same space are two sweeps.
    """
    plain = SweepConfig()
    chosen = {key: getattr(settings, key) for key in ("sampler", "early_stopping")}
    words = [value for key, value in chosen.items() if value != getattr(plain, key)]
    if settings.minimize != plain.minimize:
        words.append(settings.minimize)
    if settings.perturbation_interval is not None:
        words.append("population")
    return [*words, "racing"] if settings.racing else words
