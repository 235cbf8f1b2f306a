"""A value as typed for a `unet3d` command, by the type of its setting in the schema."""

from __future__ import annotations

import re
from dataclasses import fields, is_dataclass
from types import NoneType
from typing import Any, get_args, get_type_hints

from unet3d.config.walk import subgroups
from unet3d.errors import ConfigError

WHOLE = re.compile(r"[+-]?\d+")
BRACKETED = ("{", "[")


def setting_types(schema: type, prefix: str = "") -> dict[str, Any]:
    """The type of each setting of a schema by its dotted key, and of each of its groups."""
    hints = get_type_hints(schema)
    found: dict[str, Any] = {prefix + f.name: hints[f.name] for f in fields(schema)}
    for name, nested in subgroups(schema).items():
        found |= setting_types(nested, f"{prefix}{name}.")
    return found


def is_text(kind: Any) -> bool:
    """Whether a setting of this type is text, Optional or not."""
    return kind is str or set(get_args(kind)) == {str, NoneType}


def may_be_null(kind: Any) -> bool:
    """Whether the type is Optional."""
    return NoneType in get_args(kind)


def typed_value(key: str, text: str, kind: Any) -> Any:
    """What `text` means for the setting `key` of type `kind`; numbers are left to OmegaConf.

    Text is taken as it is, but null for none where that is allowed. Lists, mappings and groups are
    YAML, in which names stay the text that was typed. Raises ConfigError for what is not.
    """
    if text == "null" and may_be_null(kind):
        return None
    several = any(
        is_dataclass(part) or getattr(part, "__origin__", None) in (list, dict)
        for part in (kind, *get_args(kind))
    )
    if not several and not (kind is Any and text.lstrip().startswith(BRACKETED)):
        return text
    import yaml

    try:
        node = yaml.compose(text, Loader=yaml.BaseLoader)
    except (yaml.YAMLError, ValueError, RecursionError) as error:
        reason = getattr(error, "problem", None) or str(error).split("\n")[0]
        raise ConfigError(f"{key}: {text!r} is not understood ({reason})") from error
    return _content(node, key)


def _content(node: Any, key: str) -> Any:
    """A YAML node as lists, mappings by text, whole numbers, and text for all else."""
    import yaml

    if isinstance(node, yaml.MappingNode):
        mapping: dict[str, Any] = {}
        for name, value in node.value:
            if not isinstance(name, yaml.ScalarNode) or name.value in mapping:
                raise ConfigError(f"{key}: {name.value!r} is given twice, or is not a name")
            mapping[name.value] = _content(value, f"{key}.{name.value}")
        return mapping
    if isinstance(node, yaml.SequenceNode):
        return [_content(item, key) for item in node.value]
    text = "" if node is None else node.value
    plain = node is not None and node.style is None
    return int(text) if plain and WHOLE.fullmatch(text) and len(text) < 20 else text
