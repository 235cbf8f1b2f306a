"""Names of label values, where a list of cases or a pattern of files does not give them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from unet3d.datasets.dataset import checked_labels
from unet3d.datasets.label_files import read_labels
from unet3d.errors import DataError

LOOKED_AT = 3  # label files that are read for a suggestion


class UnnamedLabels(DataError):
    """Nothing names the label values of a data set. values: those in some of its files."""

    def __init__(self, message: str, values: Sequence[int]):
        super().__init__(message)
        self.values = tuple(values)


def given_labels(
    description: Path, labels: Mapping[Any, Any] | None, files: Sequence[Path]
) -> dict[int, str]:
    """data.labels, checked. Raises DataError where it is missing, with the values in some files."""
    if labels:
        return checked_labels(description, {int(v): str(name) for v, name in labels.items()})
    values: set[int] = set()
    for file in files[:LOOKED_AT]:
        values |= {int(value) for value in np.unique(read_labels(file)[0]) if value}
    if not values:
        raise DataError(
            f"{files[0]}: no labelled voxel in this and the next files; name the label values "
            "with data.labels={1:name}"
        )
    names = ",".join(f"{value}:label_{value}" for value in sorted(values))
    raise UnnamedLabels(
        f"{description}: does not name the label values; type 'data.labels={{{names}}}', with "
        f"names of your own and any value that is not in the first {min(LOOKED_AT, len(files))} "
        "label files",
        sorted(values),
    )
