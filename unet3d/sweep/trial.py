"""A trial: one training among those of a sweep, and how it ended."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, fields
from functools import cached_property
from typing import Any

from unet3d.config.command_line import MAPPINGS, train_command
from unet3d.config.identity import settings_key
from unet3d.config.schema import AUTO, Config
from unet3d.config.setting import Effect
from unet3d.config.walk import walk
from unet3d.sweep.format import shown

# What decides the number of replicas, and with it how norm=batch and a scaled rate turn out.
REPLICAS = ("parallel", "nodes", "parallel.devices", "parallel.gpus_per_node")
OF_THE_SWEEP = (
    *("sweep", "hydra", "dry_run", "parallel", "nodes", "tracking", "output_dir", "resume", "job"),
)


@dataclass(frozen=True)
class Trial:
    """Settings of one training. swept: those that the sweep varies, as typed.

    config_dir: the user's own folder of groups and presets, "" for none. rung: of successive
    halving, 0 the cheapest.
    """

    number: int
    overrides: tuple[str, ...]
    swept: dict[str, str]
    config: Config
    config_dir: str = ""
    rung: int = 0

    @cached_property
    def key(self) -> str:
        """Names the trial by what its result depends on, so that the same is never run twice."""
        return settings_key(self.config)

    @property
    def name(self) -> str:
        """The swept settings in short: lr=0.001, norm=batch."""
        short = {key: key.rpartition(".")[2] for key in self.swept}
        unique = len(set(short.values())) == len(short)
        named = [f"{short[k] if unique else k}={shown(v)}" for k, v in self.swept.items()]
        return ", ".join(named) or f"trial {self.number}"

    @property
    def command(self) -> str:
        """The command that trains this one alone."""
        return self.command_with(())

    def command_with(self, replicas: Sequence[str]) -> str:
        """The command that trains this one alone; replicas: overrides that fix their number."""
        effects = {name: setting.effect for name, _, setting in walk(self.config)}
        own = [o for o in self.overrides if self._is_needed_alone(override_key(o), effects)]
        if self.config.data.patch == AUTO and not any(o.startswith("data.patch=") for o in own):
            own.append(f"data.patch={AUTO}")  # of a preset: the report puts in what it has chosen
        for key in MAPPINGS:
            if any(o.startswith(f"{key}={{") for o in own):
                own = [o for o in own if o != f"{key}=null"]  # train.py puts it there itself
        options = ["--config-dir", self.config_dir] if self.config_dir else []
        return train_command([*options, *own, *replicas])

    def _is_needed_alone(self, key: str, effects: Mapping[str, Effect]) -> bool:
        """Whether an override belongs to the training: how it is divided among replicas does."""
        if key in REPLICAS and self.config.parallel.name == "data":
            return True
        return (
            key.split(".")[0] not in OF_THE_SWEEP
            or effects.get(key, Effect.NONE) is not Effect.NONE
        )


@dataclass
class TrialResult:
    """How a trial ended. state: finished, pruned, failed, or stopped, to be resumed."""

    state: str
    best: float | None = None  # val/dice
    best_epoch: int = 0
    epochs: int = 0
    seconds: float = 0.0  # of training, over all attempts of this command
    attempts: int = 1
    run_id: str = ""
    error: str = ""
    device_seconds: float = 0.0  # of all commands; 0 in those of earlier versions
    parameters: int = 0  # of the network, likewise

    @property
    def over(self) -> bool:
        """Whether the same command leaves the trial as it is."""
        return self.state in ("finished", "pruned")

    @staticmethod
    def of(stored: dict[str, Any]) -> TrialResult:
        """From JSON; what another version may have added is ignored."""
        known = {field.name for field in fields(TrialResult)}
        return TrialResult(**{key: value for key, value in stored.items() if key in known})


def override_key(override: str) -> str:
    """The key of key=value, without Hydra's + and ~."""
    return override.lstrip("+~").split("=", 1)[0]


def swept_keys(lists: Iterable[Sequence[str]]) -> list[str]:
    """The keys that do not have the same value in all lists of overrides, in order."""
    values: dict[str, set[str | None]] = {}
    each = [dict(split_override(o) for o in overrides) for overrides in lists]
    for one in each:
        for key in one:
            values.setdefault(key, set())
    for key, seen in values.items():
        seen.update(one.get(key) for one in each)
    return [key for key, seen in values.items() if len(seen) > 1]


def split_override(override: str) -> tuple[str, str]:
    """key=value as a pair, the key without Hydra's + and ~."""
    key, _, value = override.partition("=")
    return key.lstrip("+~"), value


def make_name(swept: Iterable[str], text: str, search: Iterable[str] = ()) -> str:
    """A sweep's name from the keys it varies and a digest of `text`, which says all it runs.

    search: words for how it chooses its trials.
    """
    words = "-".join(key.rpartition(".")[2] for key in swept)[:60] or "sweep"
    return "-".join([words, *search, hashlib.sha256(text.encode()).hexdigest()[:6]])
