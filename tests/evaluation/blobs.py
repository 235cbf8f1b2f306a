"""Pairs of masks that resemble lesions and their predictions."""

from __future__ import annotations

import numpy as np
from scipy import ndimage

SPACINGS = ((1.0, 1.0, 1.0), (0.9375, 0.9375, 5.0), (1.5, 0.7, 2.3))


def smooth_noise(seed: int, shape: tuple[int, int, int], width: float = 2.5) -> np.ndarray:
    """Noise of standard deviation 1."""
    noise = np.random.default_rng(seed).standard_normal(shape)
    noise = ndimage.gaussian_filter(noise, width)
    return noise / noise.std()


def blobs(seed: int, shape: tuple[int, int, int] = (31, 26, 22)) -> tuple[np.ndarray, np.ndarray]:
    """Truth and prediction: several blobs each, some cut by the border, with shared parts."""
    truth = smooth_noise(seed, shape)
    prediction = 0.8 * truth + 0.6 * smooth_noise(seed + 1000, shape)
    return truth > 0.9, prediction > 0.9


def cube(
    start: tuple[int, int, int], size: int = 3, shape: tuple[int, int, int] = (20, 20, 20)
) -> np.ndarray:
    """A mask with one cube."""
    mask = np.zeros(shape, dtype=bool)
    mask[tuple(slice(first, first + size) for first in start)] = True
    return mask
