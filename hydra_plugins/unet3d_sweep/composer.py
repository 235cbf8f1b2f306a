"""The settings of many trials: Hydra composes those that differ in plain values alone once.

Hydra takes a fifth of a second for each list of overrides, and applies values at the very end; so
they are put into what it has composed for another trial.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import lru_cache
from typing import TYPE_CHECKING, Any

from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import Override
from omegaconf import MISSING, DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

if TYPE_CHECKING:
    from unet3d.config.schema import SweepRunConfig

Key = tuple[tuple[str, ...], tuple[str, ...]]  # all but the values, and the keys of the values


class Composer:
    """Composes trials; keeps one composition for each choice of groups and presets."""

    def __init__(self, loader: Any, name: str, compose: Callable[[list[str]], DictConfig]):
        """loader: Hydra's; name: of the YAML file that it begins with; compose: one by Hydra."""
        self.loader, self.name, self.by_hydra = loader, name, compose
        self.composed: dict[Key, DictConfig] = {}
        self.groups: dict[str, bool] = {}  # whether a key is one of conf/; slow to find out

    def compose(self, overrides: Sequence[str]) -> SweepRunConfig:
        """The typed settings of one trial. Raises ConfigError, as train.py does."""
        from unet3d.config.compose import to_config, with_known_keys
        from unet3d.config.composed_plans import with_composed_plans
        from unet3d.config.schema import SweepRunConfig

        own = list(overrides)
        key, values = self._split(own)
        known = self._with_values(key, values)
        if known is not None:
            config = with_known_keys(known)
        else:
            by_hydra = self.by_hydra(own)
            composed = with_composed_plans(by_hydra, self.name, own, self.loader, self.by_hydra)
            config = to_config(composed)
            # Not where more follows from a value, such as the settings of plans.
            if composed is by_hydra and all(_is_leaf(composed, value) for value in values):
                self.composed[key] = composed
        assert isinstance(config, SweepRunConfig)
        return config

    def _split(self, overrides: list[str]) -> tuple[Key, list[Override]]:
        """What decides how Hydra composes, and the overrides that are values alone."""
        parsed = [_parsed(override) for override in overrides]
        fixed = [one for one in parsed if not self._is_value(one)]
        # The order counts among overrides of one setting, as of data.regions=null and ={...}.
        ordered = [one.key_or_group for one in fixed if not self._is_group(one.key_or_group)]
        values = [
            one
            for one in parsed
            if one not in fixed and not any(_overlap(one.key_or_group, key) for key in ordered)
        ]
        others = [o for o, one in zip(overrides, parsed, strict=True) if one not in values]
        return (tuple(others), tuple(one.key_or_group for one in values)), values

    def _is_value(self, override: Override) -> bool:
        """Whether it replaces one value, which no other setting and no group follows from."""
        from unet3d.config.command_line import PLANS

        key = override.key_or_group
        if override.is_delete() or override.is_add() or override.is_force_add():
            return False
        if override.is_sweep_override() or override.package is not None or key == PLANS:
            return False
        value = override.value()
        if isinstance(value, str) and ("${" in value or value == MISSING):
            return False
        if not (value is None or isinstance(value, bool | int | float | str)):
            return False
        return not self._is_group(key)

    def _is_group(self, key: str) -> bool:
        if key not in self.groups:
            self.groups[key] = bool(self.loader.get_group_options(key.replace(".", "/")))
        return self.groups[key]

    def _with_values(self, key: Key, values: list[Override]) -> DictConfig | None:
        """What was composed for another trial with these values; None: Hydra is to compose."""
        composed = self.composed.get(key)
        if composed is None:
            return None
        try:
            for value in values:
                OmegaConf.update(composed, value.key_or_group, value.value(), merge=True)
        except OmegaConfBaseException:  # worded by Hydra
            del self.composed[key]
            return None
        return composed


@lru_cache(maxsize=4096)
def _parsed(override: str) -> Override:
    return OverridesParser.create().parse_override(override)


def _overlap(key: str, other: str) -> bool:
    """Whether two dotted keys are of the same setting, or of a group and one in it."""
    return f"{key}.".startswith(f"{other}.") or f"{other}.".startswith(f"{key}.")


def _is_leaf(composed: DictConfig, override: Override) -> bool:
    """Whether the setting is one value, not a group of them."""
    node = OmegaConf.select(composed, override.key_or_group, default=None)
    return not isinstance(node, DictConfig)
