"""What the network predicts from the labels: regions (a sigmoid each) or classes (one softmax)."""

from __future__ import annotations

import re
from collections import Counter
from dataclasses import dataclass

import numpy as np

from unet3d.config.schema import DataConfig
from unet3d.errors import ConfigError


@dataclass(frozen=True)
class Targets:
    """The truth of each output for each label value. table: float32 (256, outputs), in {0, 1}.

    exclusive: whether the outputs are the classes of one softmax. ignores: whether a label value,
    whose row is -1, stands for voxels that do not count.
    """

    names: tuple[str, ...]
    table: np.ndarray
    exclusive: bool
    ignores: bool = False

    @property
    def single_labels(self) -> bool:
        """Whether each output stands for one label value, so that no two of them overlap."""
        return bool(
            ((self.table == 1).sum(axis=0) == 1).all() and (self.table.sum(axis=1) <= 1).all()
        )

    def encode(self, label: np.ndarray) -> np.ndarray:
        """uint8 labels of any shape -> float32 (..., outputs), in {0, 1}."""
        return self.table[label]


def make_targets(data: DataConfig, labels: dict[int, str], ignore: int | None = None) -> Targets:
    """The targets that data.target and data.regions make of the data set's `labels`.

    ignore: the label value of voxels that count neither in the loss nor in a metric.
    Raises ConfigError for an unknown target, and for a region of labels that do not exist.
    """
    if data.target == "classes":
        named = {0: "background"} | labels
        return _targets(
            {name: [value] for value, name in output_names(named).items()}, True, ignore
        )
    if data.target != "regions":
        raise ConfigError(f"data.target: {data.target} is not known; choose regions or classes")
    foreground = {value: name for value, name in labels.items() if value != 0}
    regions = data.regions or {name: [v] for v, name in output_names(foreground).items()}
    known = ", ".join(f"{value} {name}" for value, name in sorted(labels.items()))
    for name, values in regions.items():
        if not values:
            raise ConfigError(f"data.regions.{name}: is empty; the data set's labels are {known}")
        for value in values:
            if value not in labels or value == 0:
                raise ConfigError(
                    f"data.regions.{name}: label {value} is not a foreground label of the data "
                    f"set; its labels are {known}"
                )
    return _targets(regions, False, ignore)


def _targets(regions: dict[str, list[int]], exclusive: bool, ignore: int | None) -> Targets:
    table: np.ndarray = np.zeros((256, len(regions)), dtype=np.float32)
    for output, values in enumerate(regions.values()):
        table[values, output] = 1
    if ignore is not None:
        table[ignore] = -1
    return Targets(tuple(regions), table, exclusive, ignore is not None)


def output_names(labels: dict[int, str]) -> dict[int, str]:
    """The name of each label's output, of a-z, 0-9 and _; no two labels have the same.

    Where only other characters tell names apart, as in TC+ and TC-, the label's value does: tc_1.
    """
    short = {value: _slug(name) for value, name in sorted(labels.items())}
    counts = Counter(short.values())
    names = {v: slug for v, slug in short.items() if v == 0 or (slug and counts[slug] == 1)}
    for value, slug in short.items():
        if value not in names:
            name = f"{slug or 'label'}_{value}"
            while name in names.values():
                name += "_"
            names[value] = name
    return dict(sorted(names.items()))


def _slug(name: str) -> str:
    return re.sub(r"[^a-z0-9]+", "_", name.lower()).strip("_")
