"""data.plans that a YAML file sets, or a sweep: known only once Hydra has composed the settings."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from unet3d.config.command_line import PLANS, prepare_overrides
from unet3d.config.plans import planned_overrides
from unet3d.config.schema import AUTO

Compose = Callable[[list[str]], Any]


def with_composed_plans(
    composed: Any, name: str, overrides: Sequence[str], loader: Any, compose: Compose
) -> Any:
    """`composed`, or where data.plans is not taken over yet, what `compose` makes with the plans.

    name: of the YAML file that Hydra began with; overrides: those that were composed; loader:
    Hydra's, which knows the folders of YAML files. What is typed, or stands in the file that sets
    data.plans, counts before the plans, and these before other files. A run that is resumed keeps
    its own. Raises ConfigError for plans that cannot be taken over.
    """
    file, typed = composed.data.get("plans"), list(overrides)
    if not file or composed.get("resume") not in (None, AUTO):
        return composed
    keys = [override.partition("=")[0].lstrip("+~") for override in typed]
    planned: list[str] = []
    if PLANS not in keys:
        planned = planned_overrides(file, [*keys, *_set_beside(loader, name, typed)])
    complete = prepare_overrides([*planned, *typed])
    return composed if complete == typed else compose(complete)


def _set_beside(loader: Any, name: str, overrides: list[str]) -> list[str]:
    """The settings in the YAML files that set data.plans, by their dotted keys."""
    from hydra.types import RunMode
    from omegaconf import OmegaConf

    found: list[str] = []
    for default in loader.compute_defaults_list(name, overrides, RunMode.RUN).defaults:
        file = loader.repository.load_config(default.config_path)
        if file is None or file.is_schema_source:
            continue
        settings: Any = OmegaConf.to_container(file.config, resolve=False)
        keys = _dotted(settings, f"{default.package}." if default.package else "")
        if PLANS in keys:
            found += keys
    return found


def _dotted(settings: Any, prefix: str) -> list[str]:
    if not isinstance(settings, dict) or not settings:
        return [prefix.rstrip(".")]
    return [key for name in settings for key in _dotted(settings[name], f"{prefix}{name}.")]
