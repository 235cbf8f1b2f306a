"""One line for what Hydra and OmegaConf say in several."""

from __future__ import annotations

import difflib
import re
import shlex
from collections.abc import Mapping, Sequence
from typing import Any

from unet3d.config.command_line import hydra_text, is_text_setting, program
from unet3d.config.schema import SCHEMAS, Config, SweepRunConfig
from unet3d.config.walk import own_settings, subgroups


def explain(error: BaseException) -> str:
    """The key, what is wrong with it and what is allowed, in one line."""
    chain: list[BaseException] = []
    link: BaseException | None = error
    while link is not None and link not in chain:
        chain.append(link)
        link = link.__cause__ or link.__context__
    text = "\n".join(str(link) for link in chain)
    if "BasicSweeper does not support sweep type" in text:
        return (
            "interval(...) needs an adaptive search; type hydra/sweeper=optuna, or list the values"
        )
    return (
        _unparsed(error)
        or _several_values(text)
        or _unknown_option(text)
        or _unknown_key(text)
        or _ill_typed(text)
        or str(error).split("\n")[0]
    )


def as_typed(value: Any) -> str:
    """A value as it is typed on the command line: null, true, [48,48,48]."""
    if value is None:
        return "null"
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, Mapping):
        return "{" + ",".join(f"{key}:{as_typed(item)}" for key, item in value.items()) + "}"
    if isinstance(value, Sequence) and not isinstance(value, str):
        return "[" + ",".join(as_typed(item) for item in value) + "]"
    return str(value)


def below_null(error: AssertionError) -> bool:
    """Whether it is OmegaConf's, of an override below a setting that is null."""
    return str(error).startswith("Unexpected type for root: NoneType")


def not_a_setting(key: str) -> str:
    """The line for a key that is not in the schema: what was meant, or what there is."""
    siblings = _settings_beside(key)
    first = key.partition(".")[0]
    if key in siblings and first not in own_settings(Config) | subgroups(Config):
        return f"{key} is a setting of a sweep, not of a training alone"
    if key in siblings:
        return f"{key} is not a setting of the chosen {first}"
    close = difflib.get_close_matches(key, siblings, n=1, cutoff=0.6)
    hint = f"did you mean {close[0]}?" if close else f"choose one of {', '.join(siblings)}"
    return f"{key} is not a setting; {hint}"


def _settings_beside(key: str) -> list[str]:
    """The settings and groups of the deepest known group on the way to `key`, by full names."""
    names = _names_by_group()
    parent = key.rpartition(".")[0]
    while parent not in names:
        parent = parent.rpartition(".")[0]
    prefix = f"{parent}." if parent else ""
    return sorted(prefix + name for name in names[parent])


def _names_by_group() -> dict[str, set[str]]:
    """What each group holds: "" all at the top, "optimizer" what any optimizer has, and so on."""
    names: dict[str, set[str]] = {}

    def add(group: str, schema: type) -> None:
        nested = subgroups(schema)
        names.setdefault(group, set()).update(own_settings(schema), nested)
        for name, below in nested.items():
            add(f"{group}.{name}" if group else name, below)

    add("", SweepRunConfig)
    for (group, _), schema in SCHEMAS.items():
        if group != "schema":
            add(group, schema)
    return names


def _unparsed(error: BaseException) -> str | None:
    override = getattr(error, "override", None)
    if override is None:
        return None
    key, equals, value = str(override).partition("=")
    if not equals or not value:
        return f"{override}: not understood; write key=value"
    return (
        f"{override}: not understood; to set {key} to this very text, type "
        f"{shlex.quote(f'{key}={hydra_text(value)}')}"
    )


def _several_values(text: str) -> str | None:
    found = re.search(
        r"Ambiguous value for argument '(.*?)'\n1\. To use it as a list", text, re.DOTALL
    )
    if not found:
        return None
    key, _, value = found[1].partition("=")
    sweep = shlex.join([*program("sweep"), "-m", found[1]])
    other = f"{key}=[{value}]"
    if is_text_setting(key.lstrip("+")):
        other = f"{key}={hydra_text(value)}"
    return (
        f"{found[1]}: several values are tried by a sweep, as in {sweep}; "
        f"if it is one value, type {shlex.quote(other)}"
    )


def _unknown_option(text: str) -> str | None:
    found = re.search(r"(?:Could not find|In '.*?': Could not find) '([\w/]+)/([\w.-]*)'", text)
    if not found:
        return None
    group, name = found.groups()
    listed = re.search(r"Available options in '.*?':\n((?:\t.*\n?)+)", text)
    options = [line.strip() for line in listed.group(1).splitlines()] if listed else []
    options = [option for option in options if not option.startswith("base_")]
    return f"{group}: '{name}' does not exist; choose one of {', '.join(options)}"


def _unknown_key(text: str) -> str | None:
    found = re.search(r"Key '([^']+)' is not in struct\n\s*full_key: (\S+)", text) or re.search(
        r"Key '([^']+)' not in '\w+'\n\s*full_key: (\S+)", text
    )
    if found:
        return not_a_setting(found.group(2))
    found = re.search(r"Could not override '([^'@]+)'", text)
    return not_a_setting(found.group(1)) if found else None


def _ill_typed(text: str) -> str | None:
    found = re.search(
        r"Value '(.*?)' (?:of type '.*?' )?(?:could not be converted to|is not a valid|is not) "
        r"?(.*)\n\s*full_key: (\S+)",
        text,
    )
    if not found:
        return None
    value, kind, key = found.groups()
    kinds = {"Integer": "a whole number", "Float": "a number", "Boolean": "true or false"}
    return f"{key}: '{value}' does not fit; it must be {kinds.get(kind, kind)}"
