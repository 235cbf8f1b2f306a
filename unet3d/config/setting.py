"""How a setting is defined: a field of a dataclass with a description, a rule and an effect."""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import Enum
from typing import Any

from omegaconf import MISSING

from unet3d.config.allowed import Rule


class Effect(Enum):
    """What another value of a setting does to the result of a training.

    RESULT: changes it, so that it is fixed once a run has begun. EXTENDS: shapes it, yet a resumed
    run may change it, as the training so far stays valid. NONE: where and how fast a run computes,
    and where it is recorded. Trials of a sweep that differ in NONE alone are the same.
    """

    RESULT = "yes"
    EXTENDS = "yes; may change on resume"
    NONE = "no"


EXTENDS, NO_EFFECT = Effect.EXTENDS, Effect.NONE


@dataclass(frozen=True)
class Setting:
    """The metadata of one field."""

    description: str
    rule: Rule | None = None
    effect: Effect = Effect.RESULT
    default: Any = None
    newer: bool = False
    path: bool = False


def setting(
    default: Any,
    description: str,
    rule: Rule | None = None,
    effect: Effect = Effect.RESULT,
    newer: bool = False,
    path: bool = False,
) -> Any:
    """A field of a schema. A list or mapping as `default` is copied for each instance.

    newer: the setting was added after sweeps had been recorded, whose trials must keep their keys;
    at its default it is left out of a trial's key. path: it names a file or folder, or the address
    of one; ~ in it is the home folder.
    """
    metadata = {"setting": Setting(description, rule, effect, default, newer, path)}
    if isinstance(default, list | dict):
        return field(default_factory=default.copy, metadata=metadata)
    return field(default=default, metadata=metadata)


def group(schema: type | None = None) -> Any:
    """A field that holds settings of its own; without `schema`, those of the choice in conf/.

    Its description is the docstring of its type.
    """
    return field(default=MISSING) if schema is None else field(default_factory=schema)
