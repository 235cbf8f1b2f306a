"""What the network is to predict: regions (a sigmoid each) or classes (one softmax) of labels."""

from __future__ import annotations

import re
from dataclasses import dataclass

import numpy as np

from unet3d.config import ConfigError, DataConfig


@dataclass(frozen=True)
class Targets:
    """A table from label value to the outputs' truth; table: float32 (256, outputs)."""

    names: tuple[str, ...]
    table: np.ndarray
    exclusive: bool

    def encode(self, label: np.ndarray) -> np.ndarray:
        """uint8 labels of any shape -> float32 (..., outputs), in {0, 1}."""
        return self.table[label]


def make_targets(data: DataConfig, labels: dict[int, str]) -> Targets:
    """The targets that data.target and data.regions choose among the data set's `labels`.

    Raises ConfigError for an unknown target, and for a region of labels that do not exist.
    """
    if data.target == "classes":
        named = {0: "background"} | labels
        return _targets({_slug(name): [value] for value, name in sorted(named.items())}, True)
    if data.target != "regions":
        raise ConfigError(f"data.target: {data.target} is not known; choose regions or classes")
    regions = data.regions or {_slug(n): [v] for v, n in sorted(labels.items()) if v != 0}
    told = ", ".join(f"{value} {name}" for value, name in sorted(labels.items()))
    for name, values in regions.items():
        if not values:
            raise ConfigError(f"data.regions.{name}: is empty; the data set's labels are {told}")
        for value in values:
            if value not in labels or value == 0:
                raise ConfigError(
                    f"data.regions.{name}: label {value} is not a foreground label of the data "
                    f"set; its labels are {told}"
                )
    return _targets(regions, False)


def _targets(regions: dict[str, list[int]], exclusive: bool) -> Targets:
    table: np.ndarray = np.zeros((256, len(regions)), dtype=np.float32)
    for output, values in enumerate(regions.values()):
        table[values, output] = 1
    return Targets(tuple(regions), table, exclusive)


def _slug(name: str) -> str:
    return re.sub(r"[^a-z0-9]+", "_", name.lower()).strip("_")
