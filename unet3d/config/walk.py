"""Walks over settings: over an instance by dotted keys, or over a schema by its groups."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import asdict, fields, is_dataclass
from typing import Any, get_args, get_type_hints

from unet3d.config.allowed import LARGEST, LARGEST_WHOLE, SEED, is_finite
from unet3d.config.setting import Setting
from unet3d.errors import ConfigError


def own_settings(schema: Any) -> dict[str, Setting]:
    """The settings of a dataclass or of an instance, by name, without those of its groups."""
    return {f.name: f.metadata["setting"] for f in fields(schema) if "setting" in f.metadata}


def subgroups(schema: type) -> dict[str, type]:
    """The fields of a dataclass that are dataclasses, Optional or not, and their types."""
    found = {}
    for name, hint in get_type_hints(schema).items():
        for kind in (hint, *get_args(hint)):
            if isinstance(kind, type) and is_dataclass(kind):
                found[name] = kind
    return found


def settings_by_group(schema: type, group: str = "") -> dict[str, dict[str, Setting]]:
    """The settings of a schema, by the dotted names of its groups; those at the top under ""."""
    found = {group: own_settings(schema)}
    for name, nested in subgroups(schema).items():
        found |= settings_by_group(nested, f"{group}.{name}" if group else name)
    return found


def walk(settings: Any, prefix: str = "") -> Iterator[tuple[str, Any, Setting]]:
    """(dotted key, value, Setting) of each setting in an instance, groups included."""
    own = own_settings(settings)
    for f in fields(settings):
        value = getattr(settings, f.name)
        if is_dataclass(value):
            yield from walk(value, f"{prefix}{f.name}.")
        else:
            yield prefix + f.name, value, own[f.name]


def check_values(settings: Any) -> None:
    """ConfigError at the first value that its rule does not allow; null is up to the type.

    No setting takes NaN or an infinity.
    """
    for key, value, setting in walk(settings):
        if not is_finite(value):
            raise ConfigError(
                f"{key}: {value} is not possible; it must be a finite number, of at most "
                f"{LARGEST:g}"
            )
        if isinstance(value, str) and ("\0" in value or (setting.path and not value.strip())):
            raise ConfigError(f"{key}: {value!r} is not possible; it must be a file or folder")
        counts = value if isinstance(value, list) else [value]
        if setting.rule is not SEED and any(
            type(c) is int and abs(c) > LARGEST_WHOLE for c in counts
        ):
            raise ConfigError(f"{key}: {value} is not possible; it must be at most {LARGEST_WHOLE}")
        if setting.rule is not None and value is not None and not setting.rule.allows(value):
            shown = repr(value) if isinstance(value, str) and not value.isprintable() else value
            raise ConfigError(f"{key}: {shown} is not possible; it must be {setting.rule.text}")


def as_dict(settings: Any) -> dict[str, Any]:
    """The settings as plain nested containers, as written to YAML and to MLflow."""
    return asdict(settings)


def flatten(settings: dict[str, Any], prefix: str = "") -> dict[str, Any]:
    """Nested settings as one level of dotted keys: {"data.split.train": 0.7, ...}."""
    flat: dict[str, Any] = {}
    for key, value in settings.items():
        if isinstance(value, dict) and value:
            flat.update(flatten(value, f"{prefix}{key}."))
        else:
            flat[prefix + key] = value
    return flat
