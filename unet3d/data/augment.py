"""Stateless augmentation: each function takes the random generator of its sample."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy import ndimage

from unet3d.config import AugmentConfig


@dataclass(frozen=True)
class Spatial:
    """Rotation and scaling about the patch's centre: `matrix` maps its offsets to those read."""

    matrix: np.ndarray  # (3, 3)

    @property
    def identity(self) -> bool:
        return bool(np.array_equal(self.matrix, np.eye(3)))

    def extent(self, patch: tuple[int, ...]) -> tuple[int, ...]:
        """The size of the box (voxels) to read for `patch`, with a margin to interpolate."""
        if self.identity:
            return patch
        half = np.abs(self.matrix) @ ((np.array(patch) - 1) / 2)
        return tuple(int(2 * np.ceil(h) + 3) for h in half)


def draw_spatial(rng: np.random.Generator, augment: AugmentConfig) -> Spatial:
    """Draw whether and how to rotate (about each axis) and to scale."""
    matrix = np.eye(3)
    if rng.random() < augment.rotate:
        for axis, angle in enumerate(rng.uniform(-1, 1, 3) * np.radians(augment.max_angle)):
            matrix = matrix @ _rotation(axis, angle)
    if rng.random() < augment.scale:
        matrix = matrix / rng.uniform(*augment.scale_range)
    return Spatial(matrix)


def _rotation(axis: int, angle: float) -> np.ndarray:
    first, second = [a for a in range(3) if a != axis]
    rotation = np.eye(3)
    rotation[first, first] = rotation[second, second] = np.cos(angle)
    rotation[first, second], rotation[second, first] = -np.sin(angle), np.sin(angle)
    return rotation


def resample(
    image: np.ndarray, label: np.ndarray, spatial: Spatial, patch: tuple[int, ...]
) -> tuple[np.ndarray, np.ndarray]:
    """The patch at the centre of a box: linear for the image (x, y, z, c), nearest for the label.

    Only the patch's voxels are computed; outside the box is 0.
    """
    inside = (np.array(label.shape) - 1) / 2
    offset = inside - spatial.matrix @ ((np.array(patch) - 1) / 2)
    moved = np.empty((*patch, image.shape[-1]), dtype=np.float32)
    for channel in range(image.shape[-1]):
        ndimage.affine_transform(
            np.ascontiguousarray(image[..., channel], dtype=np.float32),
            spatial.matrix,
            offset,
            patch,
            output=moved[..., channel],
            order=1,
        )
    nearest = ndimage.affine_transform(label, spatial.matrix, offset, patch, order=0)
    return moved, nearest


def flip(
    rng: np.random.Generator, image: np.ndarray, label: np.ndarray, augment: AugmentConfig
) -> tuple[np.ndarray, np.ndarray]:
    """Mirror along each axis with probability augment.flip."""
    axes = tuple(axis for axis in range(3) if rng.random() < augment.flip)
    return np.flip(image, axes), np.flip(label, axes)


def change_intensity(
    rng: np.random.Generator, image: np.ndarray, augment: AugmentConfig
) -> np.ndarray:
    """Blur, contrast, gamma and noise, each drawn once a patch; float32 (x, y, z, c)."""
    if rng.random() < augment.blur:
        image = blur(image, rng.uniform(*augment.blur_sigma))
    if rng.random() < augment.contrast:
        image = contrast(image, rng.uniform(*augment.contrast_range))
    if rng.random() < augment.gamma:
        image = gamma(image, rng.uniform(*augment.gamma_range))
    if rng.random() < augment.noise:
        deviation = np.float32(rng.uniform(0, augment.max_noise))
        image = image + deviation * rng.standard_normal(image.shape, dtype=np.float32)
    return image


def blur(image: np.ndarray, sigma: float) -> np.ndarray:
    """A Gaussian of `sigma` voxels along the three axes."""
    return ndimage.gaussian_filter(image, (sigma, sigma, sigma, 0), truncate=3.0)


def contrast(image: np.ndarray, factor: float) -> np.ndarray:
    """Scale each channel about its mean, within its range."""
    mean = image.mean((0, 1, 2))
    low, high = image.min((0, 1, 2)), image.max((0, 1, 2))
    return np.clip((image - mean) * np.float32(factor) + mean, low, high)


def gamma(image: np.ndarray, exponent: float) -> np.ndarray:
    """Raise each channel, scaled to [0, 1], to `exponent`, and scale back to its range."""
    low = image.min((0, 1, 2))
    span = np.maximum(image.max((0, 1, 2)) - low, np.float32(1e-7))
    return ((image - low) / span) ** np.float32(exponent) * span + low
