"""One line for what Hydra and OmegaConf say in several."""

from __future__ import annotations

import difflib
import re


def explain(error: BaseException) -> str:
    """The key, what is wrong with it and what is allowed, in one line."""
    chain: list[BaseException] = []
    link: BaseException | None = error
    while link is not None and link not in chain:
        chain.append(link)
        link = link.__cause__ or link.__context__
    text = "\n".join(str(link) for link in chain)
    if "BasicSweeper does not support sweep type" in text:
        return "interval(...) is of an adaptive search; type hydra/sweeper=optuna, or list values"
    return (
        _unparsed(error)
        or _unknown_option(text)
        or _unknown_key(text)
        or _ill_typed(text)
        or str(error).split("\n")[0]
    )


def below_null(error: AssertionError) -> bool:
    """Whether it is OmegaConf's, of an override below a setting that is null."""
    return str(error).startswith("Unexpected type for root: NoneType")


def _unparsed(error: BaseException) -> str | None:
    override = getattr(error, "override", None)
    if override is None:
        return None
    return f"{override}: not understood; write key=value, in quotes where it holds blanks or {{}}"


def _unknown_option(text: str) -> str | None:
    found = re.search(r"(?:Could not find|In '.*?': Could not find) '([\w/]+)/([\w.-]*)'", text)
    if not found:
        return None
    group, name = found.groups()
    listed = re.search(r"Available options in '.*?':\n((?:\t.*\n?)+)", text)
    options = [line.strip() for line in listed.group(1).splitlines()] if listed else []
    options = [option for option in options if not option.startswith("base_")]
    return f"{group}: '{name}' is not there; choose one of {', '.join(options)}"


def _unknown_key(text: str) -> str | None:
    found = re.search(r"Key '([^']+)' is not in struct\n\s*full_key: (\S+)", text) or re.search(
        r"Key '([^']+)' not in '\w+'\n\s*full_key: (\S+)", text
    )
    if found:
        return not_a_setting(found.group(2))
    found = re.search(r"Could not override '([^'@]+)'", text)
    return not_a_setting(found.group(1)) if found else None


def not_a_setting(key: str) -> str:
    """The line for a key that is not in the schema: what was meant, or what there is."""
    siblings = _settings_beside(key)
    if key in siblings and key.partition(".")[0] in ("sweep", "dry_run"):
        return f"{key} is a setting of sweep.py, not of train.py"
    if key in siblings:
        return f"{key} is not a setting of the chosen {key.partition('.')[0]}"
    close = difflib.get_close_matches(key, siblings, n=1, cutoff=0.6)
    hint = f"did you mean {close[0]}?" if close else f"choose one of {', '.join(siblings)}"
    return f"{key} is not a setting; {hint}"


def _settings_beside(key: str) -> list[str]:
    """The settings of the deepest known group on the way to `key`, by their full names."""
    from dataclasses import fields, is_dataclass

    from unet3d.config import (
        SCHEMAS,
        PhantomConfig,
        SourceConfig,
        SplitConfig,
        SweepConfig,
        SweepRunConfig,
        ValidationConfig,
    )

    groups: dict[str, set[str]] = {"": {f.name for f in fields(SweepRunConfig)}}
    for (group, _), node in SCHEMAS.items():
        if group not in (None, "schema") and is_dataclass(node):
            groups.setdefault(group, set()).update(f.name for f in fields(node))
    for name, node in (
        ("data.split", SplitConfig),
        ("data.phantom", PhantomConfig),
        ("data.source", SourceConfig),
        ("validation", ValidationConfig),
        ("sweep", SweepConfig),
    ):
        groups[name] = {f.name for f in fields(node)}
    parent = key.rpartition(".")[0]
    while parent not in groups:
        parent = parent.rpartition(".")[0]
    prefix = f"{parent}." if parent else ""
    return sorted(prefix + name for name in groups[parent])


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
