"""Z-scores within the foreground, or its percentiles."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from unet3d.preprocessing.fingerprint import Intensities, measure_intensities

CONSTANT = 1e-6  # a channel that varies by less than this share of its mean is a rounded constant
FLOAT32_DEVIATIONS = (1e-15, 1e15)  # float32 can hold their squares and inverses
FLOAT32_SHARE = 1e-4  # of the mean; a smaller deviation has too few steps of float32


def standardise(values: np.ndarray, mask: np.ndarray) -> Intensities | None:
    """Give `values` mean 0 and standard deviation 1 inside `mask` and 0 outside, in place.

    values: float32 or float64 (x, y, z). A constant channel becomes 0. Returns the intensities
    inside before the change, or None when this type cannot hold them: in float32 those that are
    tiny, huge, or far from 0 and close together, in float64 NaN and infinity. `values` is then
    undefined.
    """
    inside = values.T[mask.T]  # transposed to NIfTI's order, to run along memory
    if not inside.size:
        values[...] = 0
        return Intensities()
    return (_float32 if values.dtype == np.float32 else _float64)(values, mask, inside)


def rescale(values: np.ndarray, mask: np.ndarray, low: float, high: float) -> None:
    """Make `low` 0 and `high` 1 in place, values beyond them clipped; 0 outside `mask`."""
    values -= np.float32(low)
    values /= np.float32(high - low if high > low else 1)
    np.clip(values, 0, 1, out=values)
    values *= mask


def _float32(values: np.ndarray, mask: np.ndarray, inside: np.ndarray) -> Intensities | None:
    with np.errstate(over="ignore", invalid="ignore"):
        mean = float(inside.mean(dtype=np.float64))
        if not np.isfinite(mean):
            return None
        measured = measure_intensities(inside, mean)
        inside -= np.float32(mean)
        deviation = float(np.sqrt(np.square(inside, out=inside).mean(dtype=np.float64)))
    low, high = FLOAT32_DEVIATIONS
    if not low < deviation < high or deviation < FLOAT32_SHARE * abs(mean):
        return None
    values -= np.float32(mean)
    values *= np.float32(1 / deviation)
    values *= mask
    return replace(measured, sd=deviation)


def _float64(values: np.ndarray, mask: np.ndarray, inside: np.ndarray) -> Intensities | None:
    if not np.isfinite(inside).all():
        return None
    peak = float(np.abs(inside).max()) or 1.0
    scaled = inside / peak  # so that no square and no sum overflows
    mean = float(scaled.mean())
    deviation = float(np.sqrt(np.square(scaled - mean).mean()))
    with np.errstate(over="ignore", invalid="ignore"):  # the background may be anything finite
        measured = measure_intensities(inside, mean * peak)
        if deviation <= CONSTANT * abs(mean):
            values[...] = 0
        else:
            values /= peak
            values -= mean
            values /= deviation
            values[~mask] = 0
    return replace(measured, sd=deviation * peak)
