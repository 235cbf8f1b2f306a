"""A trial: one training among those of a sweep, and how it ended."""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, fields
from functools import cached_property
from typing import Any

from unet3d.config import Config, as_dict, flatten

SAME_RESULT = (
    *("output_dir", "resume", "threads", "nodes"),
    *("data.store", "data.stage_to", "data.workers"),
)
SAME_RESULT_UNDER = ("tracking.", "parallel.", "data.prefetch", "data.source.", "sweep.")
MATTERS = ("parallel.lr_scaling", "parallel.warmup_epochs", "parallel.compression")
TYPED = 8  # characters of a number; a longer one was not typed by hand
OF_THE_SWEEP = ("sweep", "hydra", "dry_run", "parallel", "nodes", "tracking", "output_dir")


@dataclass(frozen=True)
class Trial:
    """Settings of one training. differs: those that the sweep varies, as typed."""

    number: int
    overrides: tuple[str, ...]
    differs: dict[str, str]
    config: Config

    @cached_property
    def key(self) -> str:
        """Names the trial by what its result depends on, so that the same is never run twice."""
        settings = {
            name: value
            for name, value in flatten(as_dict(self.config)).items()
            if name in MATTERS or not (name in SAME_RESULT or name.startswith(SAME_RESULT_UNDER))
        }
        text = json.dumps(settings, sort_keys=True, default=str)
        return hashlib.sha256(text.encode()).hexdigest()[:12]

    @property
    def name(self) -> str:
        """What differs, in short: lr=0.001, norm=batch."""
        short = {key: key.rpartition(".")[2] for key in self.differs}
        unique = len(set(short.values())) == len(short)
        named = [f"{short[k] if unique else k}={shown(v)}" for k, v in self.differs.items()]
        return ", ".join(named) or f"trial {self.number}"

    @property
    def command(self) -> str:
        """What trains this one alone."""
        own = [o for o in self.overrides if override_key(o).split(".")[0] not in OF_THE_SWEEP]
        quoted = [f"'{o}'" if set(o) & set(' {}[]()*$"') else o for o in own]
        return " ".join(["python", "train.py", *quoted])


@dataclass
class Ended:
    """How a trial ended. state: finished, pruned, failed, or stopped by the user to go on later."""

    state: str
    best: float | None = None  # val/dice
    best_epoch: int = 0
    epochs: int = 0
    seconds: float = 0.0  # of training, over all attempts of this command
    attempts: int = 1
    run_id: str = ""
    error: str = ""

    @property
    def over(self) -> bool:
        """Whether the same command leaves the trial as it is."""
        return self.state in ("finished", "pruned")

    @staticmethod
    def of(stored: dict[str, Any]) -> Ended:
        """From JSON, ignoring what another version may have added."""
        known = {field.name for field in fields(Ended)}
        return Ended(**{key: value for key, value in stored.items() if key in known})


def number(text: str) -> float | None:
    """The finite number that a text is, None for any other."""
    try:
        value = float(text)
    except ValueError:
        return None
    return value if math.isfinite(value) else None


def shown(value: str) -> str:
    """A value for the eye: four digits of a number that a search has drawn, others as typed."""
    size = number(value)
    return value if size is None or len(value) <= TYPED else f"{size:.4g}"


def override_key(override: str) -> str:
    """The key of key=value, without Hydra's + and ~."""
    return override.lstrip("+~").split("=", 1)[0]


def varied(lists: Iterable[Sequence[str]]) -> list[str]:
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


def make_name(differs: Iterable[str], text: str) -> str:
    """A sweep's name from what it varies and the digest of all it is given."""
    words = "-".join(key.rpartition(".")[2] for key in differs)[:60] or "sweep"
    return f"{words}-{hashlib.sha256(text.encode()).hexdigest()[:6]}"
