"""What conf/ offers: the choices of each group, and what each of them sets."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from unet3d.config.compose import conf_dir
from unet3d.config.schema import Config
from unet3d.config.walk import subgroups


@dataclass(frozen=True)
class Choice:
    """A YAML file of a group. values: what it sets, by keys without the group's name."""

    name: str
    description: str
    values: dict[str, Any]


def choices() -> dict[str, list[Choice]]:
    """The choices of each group of conf/, those of a training first, then presets over groups."""
    offered = {name: _choices_in(name, kind) for name, kind in subgroups(Config).items()}
    presets = sorted(path.name for path in conf_dir().iterdir() if path.is_dir())
    offered |= {n: _choices_in(n, Config) for n in presets if n not in (*offered, "hydra")}
    return {name: found for name, found in offered.items() if found}


def default_choices(name: str = "config") -> dict[str, str]:
    """The choice of each group that conf/<name>.yaml begins with."""
    chosen: dict[str, str] = {}
    for entry in _load(conf_dir() / f"{name}.yaml")["defaults"]:
        if isinstance(entry, dict):
            for group, choice in entry.items():
                chosen[group.removeprefix("override ")] = choice
        elif entry != "_self_":
            chosen |= default_choices(entry)
    return {group: choice for group, choice in chosen.items() if group in subgroups(Config)}


def default_values(name: str = "config") -> dict[str, Any]:
    """The settings that the choices of conf/<name>.yaml set, by their full keys."""
    offered = choices()
    return {
        f"{group}.{key}": value
        for group, chosen in default_choices(name).items()
        for choice in offered[group]
        if choice.name == chosen
        for key, value in choice.values.items()
    }


def _choices_in(group: str, schema: type) -> list[Choice]:
    return [_choice(path, schema) for path in sorted((conf_dir() / group).glob("*.yaml"))]


def _choice(path: Path, schema: type) -> Choice:
    """The description is the comment at the top of the file."""
    lines = []
    for line in path.read_text().splitlines():
        if not line.startswith("#"):
            break
        if not line.startswith("# @package"):
            lines.append(line.lstrip("# "))
    settings = _load(path)
    entries = [entry for entry in settings.pop("defaults", []) if isinstance(entry, dict)]
    values = {
        group.removeprefix("override /"): choice
        for entry in entries
        for group, choice in entry.items()
    }
    own = {key: value for key, value in settings.items() if key not in ("name", "hydra")}
    return Choice(path.stem, " ".join(lines), values | _by_setting(own, schema))


def _by_setting(values: dict[str, Any], schema: type) -> dict[str, Any]:
    """Nested values as one level of keys, down to what the schema knows as one setting."""
    nested = subgroups(schema)
    flat: dict[str, Any] = {}
    for key, value in values.items():
        if key in nested and isinstance(value, dict) and value:
            below = _by_setting(value, nested[key])
            flat |= {f"{key}.{name}": own for name, own in below.items()}
        else:
            flat[key] = value
    return flat


def _load(path: Path) -> dict[str, Any]:
    from omegaconf import OmegaConf

    settings: Any = OmegaConf.to_container(OmegaConf.load(path))
    return settings
