"""Scaling by a data set's own figures, as of CT: clipped and standardised while it is read.

The figures are those of the training cases of a split, so that one store serves every fold.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from unet3d.errors import DataError
from unet3d.preprocessing.first_read import read_description

CLIPPED = (0.5, 99.5)  # percentiles of the labelled voxels, as nnU-Net's (Isensee et al. 2021)


@dataclass(frozen=True)
class ChannelScale:
    """Values are clipped to [low, high]; then `mean` becomes 0 and `sd` 1."""

    low: float
    high: float
    mean: float
    sd: float


Scales = tuple[ChannelScale | None, ...]  # one for each sequence; None: as it is stored


def scale_of(values: np.ndarray) -> ChannelScale:
    """The scale of labelled voxels' values (n,), in the units of the files."""
    low, high = np.percentile(values, CLIPPED).tolist()
    return ChannelScale(low, high, float(values.mean()), max(float(values.std()), 1e-8))


def scaled(image: np.ndarray, scales: Sequence[ChannelScale | None]) -> np.ndarray:
    """An image (..., channels) with each sequence scaled; its type is kept."""
    if not any(scales):
        return image
    result = np.empty_like(image)
    for channel, scale in enumerate(scales):
        values = image[..., channel]
        if scale is None:
            result[..., channel] = values
        else:
            wide = np.clip(values.astype(np.float32), scale.low, scale.high)
            result[..., channel] = (wide - np.float32(scale.mean)) / np.float32(scale.sd)
    return result


def training_scales(path: Path, methods: Sequence[str], cases: Iterable[str]) -> Scales:
    """The scales of the sequences of a store in folder `path`, from its training `cases`.

    methods: of data.normalize. Raises DataError where these cases have no labelled voxel.
    """
    if "ct" not in methods:
        return ()
    samples: dict[int, list[float]] = {i: [] for i, name in enumerate(methods) if name == "ct"}
    for case in cases:
        found = read_description(path / "cases" / case)
        for channel, values in found["fingerprint"].get("labelled", {}).items():
            samples[int(channel)] += values
    if not all(samples.values()):
        raise DataError(
            f"{path}: no training case has a labelled voxel, by which CT is normalised; type "
            "data.normalize=zscore"
        )
    return tuple(
        scale_of(np.array(samples[index])) if index in samples else None
        for index in range(len(methods))
    )


def scales_as_json(scales: Scales) -> list[dict[str, float] | None]:
    """To be kept with a run, whose network expects them."""
    return [asdict(scale) if scale else None for scale in scales]


def scales_of_json(found: Any) -> Scales:
    """The scales that were kept with a run."""
    return tuple(ChannelScale(**scale) if scale else None for scale in found)
