"""The arguments of a command, taken apart before any of them is read as a setting."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import fields
from pathlib import Path

from unet3d.errors import ConfigError

CONFIG_DIR = ("--config-dir", "-cd")  # as Hydra names it


def separate(keys: Iterable[str], overrides: list[str]) -> tuple[list[str], list[str]]:
    """The arguments that set one of `keys`, and the others."""
    starts = tuple(f"{key}=" for key in keys)
    own = [override for override in overrides if override.startswith(starts)]
    return own, [override for override in overrides if not override.startswith(starts)]


def separate_own(schema: type, overrides: list[str]) -> tuple[list[str], list[str]]:
    """The arguments that set a field of `schema`, and the others."""
    return separate((field.name for field in fields(schema)), overrides)


def as_list(key: str, override: str) -> str:
    """gpus=1,2,4 as a list."""
    name, _, value = override.partition("=")
    return f"{key}=[{value}]" if name == key and not value.startswith("[") else override


def with_config_dir(arguments: list[str]) -> list[str]:
    """--config-dir <folder> as the setting of Hydra that commands without its options take.

    Raises ConfigError for a folder that does not exist.
    """
    left, folder, following = [], "", iter(arguments)
    for argument in following:
        option, equals, value = argument.partition("=")
        if option in CONFIG_DIR:
            folder = value if equals else next(following, "")
            if not Path(folder).is_dir() or not folder:
                raise ConfigError(f"{option}: {folder or 'nothing'} is not a folder")
        else:
            left.append(argument)
    if not folder:
        return left
    from unet3d.config.command_line import hydra_text

    return [f"hydra.searchpath=[{hydra_text(Path(folder).resolve().as_uri())}]", *left]
