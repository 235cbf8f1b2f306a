"""What a sweep may take: device hours, and a time at which it is to be over."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from statistics import median

from unet3d.config.schema import Config, SweepConfig
from unet3d.errors import ConfigError
from unet3d.planning.gantt import clock
from unet3d.sweep.running_trial import RunningTrial
from unet3d.sweep.search.search import relative_length
from unet3d.sweep.sweep_folder import SweepFolder, TrialRecord
from unet3d.sweep.trial import Trial, TrialResult

HOUR = 3600.0
ROOM = 1e-9  # of what is left, for rounding


@dataclass
class Budget:
    """Says whether a trial may begin, and when the running ones shall save and stop.

    seconds: device seconds in all, None without a limit; deadline: seconds since 1970, or None.
    devices: of one slot. pace: device seconds of a trial for each unit of its relative length, of
    trials like these that have ended before, None where none is known; those of the sweep itself
    count as soon as one has finished. reason: why no other trial begins, once one was held back.
    """

    seconds: float | None
    deadline: float | None
    devices: float = 1.0
    pace: float | None = None
    spent: dict[str, float] = field(default_factory=dict)  # device seconds, by the trial's key
    paces: list[float] = field(default_factory=list)
    reason: str = ""
    now: Callable[[], float] = time.time

    def expected(self, config: Config, running: Iterable[RunningTrial] = ()) -> float | None:
        """Device seconds of a trial from its start to its end, None where nothing says it.

        Before one has ended, those that are running say it by their first epochs.
        """
        measured = [
            self._by_its_epochs(one) / relative_length(one.trial.config)
            for one in running
            if one.last_epoch
        ]
        known = self.paces or ([] if self.pace is None else [self.pace]) or measured
        return median(known) * relative_length(config) if known else None

    def may_begin(self, one: RunningTrial, running: Iterable[RunningTrial]) -> bool:
        """Whether a trial would end within the limits, beside those that are running.

        A trial of which nothing says how long it takes may, as long as anything is left.
        """
        running = list(running)
        left = max(0.0, (self.expected(one.trial.config, running) or 0.0) - one.device_seconds)
        if self.deadline is not None:
            seconds = self.now() + left / self.devices
            if seconds > self.deadline + ROOM or self.now() >= self.deadline:
                takes = clock(left / self.devices)
                self.reason = f"sweep.deadline: another trial, of about {takes}, would pass it"
                return False
        if self.seconds is not None:
            others = {r.trial.key: self._in_all(r, running) for r in running}
            used = sum((self.spent | others).values())
            if used + left > self.seconds * (1 + ROOM) or used >= self.seconds:
                self.reason = (
                    f"sweep.budget: {used / HOUR:.3g} of {self.seconds / HOUR:.3g} device hours "
                    f"are used or needed by trials that run, and another takes {left / HOUR:.2g}"
                )
                return False
        return True

    def passed(self, running: Sequence[RunningTrial]) -> bool:
        """Whether the limits are reached, so that what runs shall save and stop."""
        if self.deadline is not None and self.now() >= self.deadline:
            self.reason = "sweep.deadline: it is reached"
            return True
        if self.seconds is None:
            return False
        used = sum((self.spent | {r.trial.key: self.taken(r) for r in running}).values())
        if used < self.seconds:
            return False
        self.reason = f"sweep.budget: all of its {self.seconds / HOUR:.3g} device hours are used"
        return True

    def taken(self, one: RunningTrial) -> float:
        """Device seconds of a running trial, of former attempts too."""
        return one.device_seconds + (time.monotonic() - one.started) * self.devices * one.slots

    def _by_its_epochs(self, one: RunningTrial) -> float:
        """Device seconds that a running trial will have taken, at the pace of its epochs."""
        return self.taken(one) * one.trial.config.epochs / max(1, one.last_epoch)

    def _in_all(self, one: RunningTrial, running: Iterable[RunningTrial]) -> float:
        expected = self.expected(one.trial.config, running) or 0.0
        return max(self.taken(one), self._by_its_epochs(one) if one.last_epoch else expected)

    def end(self, trial: Trial, result: TrialResult) -> None:
        """A trial has ended, or had before this command."""
        self.spent[trial.key] = result.device_seconds or result.seconds * self.devices
        if result.state == "finished" and result.epochs:
            share = result.epochs / trial.config.epochs  # of one that stopped early by itself
            length = relative_length(trial.config) * share
            self.paces.append(self.spent[trial.key] / length)


def make_budget(
    sweep: SweepConfig,
    folder: SweepFolder,
    configs: Sequence[Config],
    devices: float,
    forecast: Callable[[], float | None],
) -> Budget | None:
    """The limits of a sweep; None without any.

    configs: of its trials, as far as they are known; forecast: device seconds that all of these
    take, None where nothing says it. Raises ConfigError for limits within which no trial can end.
    """
    if sweep.budget is None and sweep.deadline is None:
        return None
    seconds = None if sweep.budget is None else sweep.budget * HOUR
    found = Budget(seconds, check_deadline(sweep), devices)
    found.spent = {trial.key: device_seconds(trial, devices) for trial in folder.trials()}
    used = sum(found.spent.values())
    if seconds is not None and used >= seconds:
        raise ConfigError(
            f"sweep.budget: {sweep.budget:g} device hours are used up, as earlier commands of this "
            f"sweep took {used / HOUR:.3g}; type a larger one to go on"
        )
    total, lengths = forecast(), sum(map(relative_length, configs))
    if total is not None and lengths:
        found.pace = total / lengths
        _check_one_trial(sweep, found, configs)
    return found


def check_deadline(sweep: SweepConfig) -> float | None:
    """The deadline in seconds since 1970, None without one. Raises ConfigError for a past one."""
    if sweep.deadline is None:
        return None
    at = datetime.fromisoformat(sweep.deadline).timestamp()
    if at <= time.time():
        raise ConfigError(
            f"sweep.deadline: {sweep.deadline} is past; type a later one, or leave it out"
        )
    return at


def _check_one_trial(sweep: SweepConfig, budget: Budget, configs: Sequence[Config]) -> None:
    """Raise ConfigError where not even the shortest trial would end within the limits."""
    shortest = min(budget.expected(config) or 0.0 for config in configs)
    if budget.seconds is not None and shortest > budget.seconds:
        raise ConfigError(
            f"sweep.budget: {sweep.budget:g} device hours are below one trial, which takes about "
            f"{shortest / HOUR:.2g} by the runs that have ended; type more"
        )
    if budget.deadline is not None and budget.now() + shortest / budget.devices > budget.deadline:
        raise ConfigError(
            f"sweep.deadline: {sweep.deadline} is too early for one trial, which takes about "
            f"{clock(shortest / budget.devices)} by the runs that have ended; type a later one"
        )


def device_seconds(trial: TrialRecord, devices: float = 1.0) -> float:
    """What a trial has taken.

    Of one that was killed, by its epochs; of one of an earlier version, with `devices`.
    """
    result = trial.result
    if result.device_seconds:
        return result.device_seconds
    seconds = result.seconds
    if not seconds and trial.epochs:
        times = [epoch["time"] / 1000 for epoch in trial.epochs]
        seconds = (max(times) - min(times)) * len(times) / max(1, len(times) - 1)
    return seconds * devices
