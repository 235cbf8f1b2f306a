"""Foreground of an image, its bounding box, and z-scores inside it."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from unet3d.data.fingerprint import Intensities, measure_intensities


def background_value(channel: np.ndarray) -> float:
    """The value that surrounds the head: 0, or what all corners share if nothing lies below it.

    Cases that were standardised before (BRATS 2013) have a background of, say, -3.2.
    """
    corners = channel[:: max(1, channel.shape[0] - 1), :: max(1, channel.shape[1] - 1)]
    corners = corners[:, :, :: max(1, channel.shape[2] - 1)]
    value: np.floating = corners.flat[0]
    if value != 0 and (corners == value).all() and not (channel < value).any():
        return float(value)
    return 0.0


def foreground_box(channels: list[np.ndarray]) -> tuple[slice, slice, slice] | None:
    """The smallest box that holds what is not background in any channel; None if nothing is."""
    occupied = [np.zeros(size, bool) for size in channels[0].shape]
    for channel in channels:
        mask = channel != channel.dtype.type(background_value(channel))
        flat = mask.any(axis=2)  # slow axis of a NIfTI file first: both passes run along memory
        occupied[0] |= flat.any(axis=1)
        occupied[1] |= flat.any(axis=0)
        occupied[2] |= mask.any(axis=0).any(axis=0)
    if not occupied[0].any():
        return None
    edges = [np.flatnonzero(axis)[[0, -1]] for axis in occupied]
    x, y, z = (slice(int(first), int(last) + 1) for first, last in edges)
    return x, y, z


def standardise(values: np.ndarray, mask: np.ndarray) -> Intensities | None:
    """Give `values` mean 0 and deviation 1 inside `mask`, and 0 outside, in place.

    values: float32 (x, y, z). A constant channel becomes 0. Returns what the values inside were,
    or None when one of them is not finite; `values` is then undefined.
    """
    inside = values.T[mask.T]  # transposed: NIfTI's order, so that the selection runs along memory
    if not inside.size:
        values[...] = 0
        return Intensities()
    mean = inside.mean(dtype=np.float64)
    if not np.isfinite(mean):
        return None
    measured = measure_intensities(inside, float(mean))
    inside -= np.float32(mean)
    deviation = float(np.sqrt(np.square(inside, out=inside).mean(dtype=np.float64)))
    if not np.isfinite(deviation):
        return None
    constant = deviation <= 1e-6 * abs(mean)
    values -= np.float32(mean)
    values *= np.float32(0 if constant or deviation == 0 else 1 / deviation)
    values *= mask
    return replace(measured, sd=deviation)
