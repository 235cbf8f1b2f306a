"""What is typed on a command line, made safe for Hydra, and commands that are shown to be typed."""

from __future__ import annotations

import os
import re
import shlex
from collections.abc import Iterable, Sequence
from functools import cache
from pathlib import Path

from unet3d.config.plans import planned_overrides
from unet3d.config.schema import SCHEMAS
from unet3d.config.target import OWN, OWN_GROUPS
from unet3d.config.typed import is_text, setting_types
from unet3d.config.walk import settings_by_group
from unet3d.errors import ConfigError

PLANS = "data.plans"
MAPPINGS = (  # replaced as a whole
    "data.regions",
    "data.labels",
    "data.foreground_shares",
    "optimizer.layer_lr",
    "validation.metrics",
)
CONFIG_DIR = ("--config-dir", "-cd")
GRAMMAR = frozenset("'\"()[]{}$\\")  # a value with one of these is written in Hydra's grammar
PLACE = re.compile(r"\{\w+\}")  # of a pattern of files, such as {case}; no dictionary of Hydra's
PLAIN = re.compile(r"[A-Za-z0-9_/.+%*@?|:-]+")  # what Hydra takes without quotes
OTHER_THAN_TEXT = re.compile(
    r"[+-]?(\d[\d_]*\.?[\d_]*|\.\d[\d_]*)(e[+-]?\d[\d_]*)?|[+-]?(inf|nan)|true|false", re.IGNORECASE
)
TOO_MANY_DIGITS = re.compile(r"[\d_]{300}")
TO_HOME = re.compile(r"((?:sqlite|file)[\w+]*:/{0,3})?(~[^/]*)(?=/|$)")


def prepare_overrides(arguments: Iterable[str]) -> list[str]:
    """Arguments of Hydra such that a setting which is text arrives as it was typed.

    Hydra alone would read output_dir=2024_05_01 as the number 20240501, could not read
    data.root=~/scans, and would merge data.regions={...} with the data set's, as it would all
    MAPPINGS. Raises ConfigError for a number of more digits than any setting has, and for plans
    that cannot be taken over.
    """
    typed = list(arguments)
    prepared = [new for argument in with_plans(typed) for new in _prepare(argument)]
    return [*prepared, *_own_choices(typed)]


def without_config_dir(arguments: Sequence[str]) -> tuple[list[str], list[str]]:
    """The arguments without `--config-dir <folder>`, and what stands for it in Hydra's compose."""
    left, folders, expected = [], [], False
    for argument in arguments:
        option, equals, value = argument.partition("=")
        if expected:
            folders.append(argument)
        elif option in CONFIG_DIR and equals:
            folders.append(value)
        elif option not in CONFIG_DIR:
            left.append(argument)
        expected = not expected and option in CONFIG_DIR and not equals
    if expected:
        raise ConfigError("--config-dir: needs a folder, as in --config-dir my_conf")
    for folder in folders:
        if not Path(folder).is_dir():
            raise ConfigError(f"--config-dir: {folder} is not a folder")
    paths = ",".join(hydra_text(f"file://{Path(folder).resolve()}") for folder in folders)
    return left, [f"hydra.searchpath=[{paths}]"] if folders else []


def _own_choices(arguments: Sequence[str]) -> list[str]:
    """The choice `own` of each group with a `_target_` for which none is typed."""
    keys = [argument.partition("=")[0].lstrip("+") for argument in arguments]
    groups = [group for group in OWN_GROUPS if f"{group}._target_" in keys and group not in keys]
    return [f"{group}={OWN}" for group in groups]


def with_plans(typed: list[str]) -> list[str]:
    """The arguments, and before data.plans what it stands for but for what is typed.

    Of several plans to sweep over, each trial takes its own (`composed_plans.py`).
    """
    keys = [argument.partition("=")[0].lstrip("+") for argument in typed]
    files = [text.partition("=")[2] for text, key in zip(typed, keys, strict=True) if key == PLANS]
    if not files or files[-1] in ("null", ""):
        return typed
    file = expand_home(files[-1].strip("'\""))
    if ("," in file or file.startswith("choice(")) and not Path(file).exists():
        return typed
    planned = planned_overrides(file, keys)
    place = keys.index(PLANS)  # behind options such as -m, which no setting may precede
    return [*typed[:place], *planned, *typed[place:]]


def _prepare(argument: str) -> list[str]:
    typed, equals, value = argument.partition("=")
    key = typed.lstrip("+")
    if not equals:
        return [argument]
    if key.startswith(tuple(f"{group}.params." for group in OWN_GROUPS)):
        return [f"++{key}={value}"]  # Hydra adds it to the mapping, or replaces it there
    if is_text_setting(key):
        return [f"{typed}={_as_text(value, key in _path_settings())}"]
    if TOO_MANY_DIGITS.search(value):
        raise ConfigError(f"{key}: {value[:20]}... has too many digits")
    return [f"{key}=null", argument] if key in MAPPINGS and value.startswith("{") else [argument]


def _as_text(value: str, path: bool) -> str:
    """The value, or values to sweep over, quoted where Hydra would not read the same text."""
    if PLACE.search(value) and not (GRAMMAR - {"{", "}"}) & set(value):
        return hydra_text(value)
    if GRAMMAR & set(value):
        return value
    parts = [expand_home(part) if path else part for part in value.split(",")]
    return ",".join(part if _is_read_as_text(part) else hydra_text(part) for part in parts)


def _is_read_as_text(part: str) -> bool:
    if OTHER_THAN_TEXT.fullmatch(part):
        return False
    # Spaces inside are kept, those around are not; a tab or line break is not read at all.
    return not part or all(PLAIN.fullmatch(word) for word in part.split(" "))


def hydra_text(text: str) -> str:
    """`text` in quotes, as Hydra's grammar takes it unchanged."""
    from hydra.core.override_parser.types import Quote, QuotedString

    escaped = re.sub(r"(\\*)\$\{", lambda found: f"{found[1] * 2}\\${{", text)
    return QuotedString(escaped, Quote.double).with_quotes()


def expand_home(path: str) -> str:
    """A path, or the address of a file, with ~ and ~name as the home folder that they stand for."""
    found = TO_HOME.match(path)
    if not found:
        return path
    return (found[1] or "") + os.path.expanduser(found[2]) + path[found.end() :]


def is_text_setting(key: str) -> bool:
    """Whether the setting of this dotted key, of whatever choice, is text."""
    return key in _text_settings()


@cache
def _text_settings() -> frozenset[str]:
    """The keys of all settings that are text, of any choice of conf/."""
    return frozenset(
        f"{group}.{key}" if group != "schema" else key
        for (group, _), schema in SCHEMAS.items()
        for key, kind in setting_types(schema).items()
        if is_text(kind)
    )


@cache
def _path_settings() -> frozenset[str]:
    return frozenset(
        ".".join(part for part in (group if group != "schema" else "", nested, name) if part)
        for (group, _), schema in SCHEMAS.items()
        for nested, settings in settings_by_group(schema).items()
        for name, setting in settings.items()
        if setting.path
    )


def program(name: str) -> list[str]:
    """How "train" or "sweep" is typed: by its script where that is, beside this package."""
    script = Path(__file__).resolve().parents[2] / f"{name}.py"
    return ["python", script.name] if script.is_file() else ["unet3d", name]


def train_command(overrides: Iterable[str]) -> str:
    """The command of a training, to be copied to a shell."""
    return shlex.join([*program("train"), *overrides])


def resume_command(run_id: str, output_dir: str = "outputs") -> str:
    """The command that continues a run, from the folder in which the last one was typed."""
    (where,) = prepare_overrides([f"output_dir={output_dir}"])
    if GRAMMAR & set(output_dir):
        where = f"output_dir={hydra_text(output_dir)}"
    return train_command([f"resume={run_id}", *([where] if output_dir != "outputs" else [])])
