"""Stateless augmentation: each draw takes the random generator of its sample."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from unet3d.config.schema import AugmentConfig

TRUNCATE = 3.0  # where Gaussians are truncated, in sigma


@dataclass(frozen=True)
class Spatial:
    """Rotation and scaling about the centre: `matrix` maps a patch's offsets to those to read."""

    matrix: np.ndarray  # (3, 3)

    @property
    def identity(self) -> bool:
        return bool(np.array_equal(self.matrix, np.eye(3)))

    def extent(self, patch: tuple[int, ...]) -> tuple[int, ...]:
        """The size in voxels of the box to read for `patch`, with a margin for interpolation."""
        if self.identity:
            return patch
        half = np.abs(self.matrix) @ ((np.array(patch) - 1) / 2)
        return tuple(int(2 * np.ceil(h) + 3) for h in half)


def draw_spatial(rng: np.random.Generator, augment: AugmentConfig) -> Spatial:
    """Draw whether and how to rotate about each axis, and whether and how to scale."""
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


def draw_flips(rng: np.random.Generator, augment: AugmentConfig) -> tuple[int, ...]:
    """The axes to mirror, each with probability augment.flip."""
    return tuple(axis for axis in range(3) if rng.random() < augment.flip)


def to_float32(
    image: np.ndarray, flips: tuple[int, ...] = (), out: np.ndarray | None = None
) -> np.ndarray:
    """A contiguous image (x, y, z, c) of float16 or bfloat16 in float32, mirrored along `flips`.

    out: where to put it; None: in a new array.
    """
    from unet3d.sampling.augment_kernels import widen

    wide = np.empty(image.shape, np.float32) if out is None else out
    mirrored = np.array([axis in flips for axis in range(3)])
    widen(image.view(np.uint16), image.dtype == np.float16, mirrored, wide)
    return wide


def warp_patch(
    image: np.ndarray,
    label: np.ndarray,
    spatial: Spatial,
    patch: tuple[int, int, int],
    centre: np.ndarray,
    flips: tuple[int, ...] = (),
    out: tuple[np.ndarray, np.ndarray] | None = None,
) -> tuple[np.ndarray, np.ndarray]:
    """The patch about `centre`, rotated, scaled and mirrored in one pass.

    image: (x, y, z, c) of 16 bits, linearly interpolated; label: uint8 (x, y, z), the nearest;
    both are 0 outside. centre: where the patch's centre lies, in voxels of the image.
    out: where to put the result; None: in new arrays. Returns float32 (*patch, c) and uint8
    (*patch).
    """
    from unet3d.sampling.augment_kernels import warp

    middle = (np.array(patch) - 1) / 2
    matrix = spatial.matrix.copy()
    matrix[:, list(flips)] *= -1  # mirrored about the middle
    moved, moved_label = out or (
        np.empty((*patch, image.shape[-1]), np.float32),
        np.empty(patch, np.uint8),
    )
    warp(
        to_float32(image),
        label,
        matrix,
        np.asarray(centre, np.float64) - matrix @ middle,
        moved,
        moved_label,
    )
    return moved, moved_label


@dataclass(frozen=True)
class Intensity:
    """How the intensities of a patch change; the defaults change nothing."""

    blur: float = 0.0  # sigma of a Gaussian, voxels
    contrast: float = 1.0  # factor about the mean
    gamma: float = 1.0  # exponent
    noise: float = 0.0  # standard deviation
    brightness: float = 1.0  # factor
    resolution: float = 1.0  # share of the voxels along each axis
    seed: int = 0  # of the noise, below 2**31


def draw_intensity(rng: np.random.Generator, augment: AugmentConfig) -> Intensity:
    """Draw which of blur, contrast, gamma, noise and the like, and how much of each."""
    blurred = rng.random() < augment.blur
    sigma = rng.uniform(*augment.blur_sigma) if blurred else 0.0
    contrasted = rng.random() < augment.contrast
    factor = rng.uniform(*augment.contrast_range) if contrasted else 1.0
    curved = rng.random() < augment.gamma
    exponent = rng.uniform(*augment.gamma_range) if curved else 1.0
    noisy = rng.random() < augment.noise
    deviation = rng.uniform(0, augment.max_noise) if noisy else 0.0
    seed = int(rng.integers(2**31)) if noisy else 0
    # Drawn last, so that the others are what they were before there were these.
    brightened = rng.random() < augment.brightness
    brightness = rng.uniform(*augment.brightness_range) if brightened else 1.0
    lowered = rng.random() < augment.low_resolution
    resolution = rng.uniform(*augment.resolution_range) if lowered else 1.0
    return Intensity(sigma, factor, exponent, deviation, brightness, resolution, seed)


def change_intensity(image: np.ndarray, change: Intensity, gamma_keeps: bool = False) -> None:
    """Change intensities in place, in nnU-Net's order but for the noise, which is last here.

    augment_device.py does it on a GPU. image: float32 (x, y, z, c), contiguous. gamma_keeps: see
    AugmentConfig.
    """
    if change.blur:
        blur(image, change.blur)
    if change.brightness != 1:
        image *= np.float32(change.brightness)
    if change.contrast != 1:
        contrast(image, change.contrast)
    if change.resolution != 1:
        lower_resolution(image, change.resolution)
    if change.gamma != 1:
        gamma(image, change.gamma, gamma_keeps)
    if change.noise:
        random = np.random.Generator(np.random.Philox(change.seed))
        noise = random.standard_normal(image.shape, dtype=np.float32)
        noise *= np.float32(change.noise)
        image += noise


def blur(image: np.ndarray, sigma: float) -> None:
    """A Gaussian of `sigma` voxels along the three axes, truncated at TRUNCATE sigma."""
    from unet3d.sampling.augment_kernels import smooth

    radius = blur_radius(sigma)
    weights = np.exp(-0.5 * np.square(np.arange(-radius, radius + 1) / sigma))
    weights = (weights / weights.sum()).astype(np.float32)
    spare = np.empty_like(image)
    source, target = image, spare
    for axis in range(3):
        lines = (-1, image.shape[axis], int(np.prod(image.shape[axis + 1 :])))
        smooth(source.reshape(lines), weights, target.reshape(lines))
        source, target = target, source
    image[...] = source


def blur_radius(sigma: float) -> int:
    """Voxels on each side that a Gaussian of `sigma` reaches."""
    return int(TRUNCATE * sigma + 0.5)


def lower_resolution(image: np.ndarray, share: float) -> None:
    """Keep a share of the voxels along each axis, the nearest, and interpolate between them."""
    for axis in range(3):
        size = image.shape[axis]
        kept = max(1.0, float(np.rint(np.float32(size) * np.float32(share))))
        places = np.clip((np.arange(size) + 0.5) * kept / size - 0.5, 0, kept - 1)
        before = np.floor(places)
        after = np.minimum(before + 1, kept - 1)
        weight = (places - before).astype(np.float32).reshape(-1, *[1] * (3 - axis))
        sources = [np.floor((place + 0.5) * size / kept).astype(int) for place in (before, after)]
        low: np.ndarray = image.take(sources[0], axis)
        high: np.ndarray = image.take(sources[1], axis)
        image[...] = low + weight * (high - low)


def contrast(image: np.ndarray, factor: float) -> None:
    """Scale each channel about its mean, within its range."""
    from unet3d.sampling.augment_kernels import scale_and_clip, statistics

    voxels = image.reshape(-1, image.shape[-1])
    low, high, mean = statistics(voxels)
    scale = np.full_like(mean, factor)
    scale_and_clip(voxels, scale, mean - scale * mean, low, high)


def gamma(image: np.ndarray, exponent: float, keeps: bool = False) -> None:
    """Raise each channel, scaled to [0, 1], to `exponent`, and scale back to its range.

    keeps: then to its mean and standard deviation.
    """
    from unet3d.sampling.augment_kernels import scale_and_clip, statistics

    voxels = image.reshape(-1, image.shape[-1])
    low, high, mean = statistics(voxels)
    deviation = _deviation(voxels, mean) if keeps else mean
    span = np.maximum(high - low, np.float32(1e-7))
    zero, one = np.zeros_like(low), np.ones_like(low)
    scale_and_clip(voxels, one / span, -low / span, zero, one)
    np.power(voxels, np.float32(exponent), out=voxels)  # NumPy's is vectorised
    scale_and_clip(voxels, span, low, low, high)
    if keeps:
        _, _, moved = statistics(voxels)
        scale = deviation / np.maximum(_deviation(voxels, moved), np.float32(1e-7))
        voxels *= scale
        voxels += mean - scale * moved


def _deviation(voxels: np.ndarray, mean: np.ndarray) -> np.ndarray:
    """The standard deviation of each channel of (voxels, channels), float32."""
    squares = np.einsum("vc,vc->c", voxels, voxels, dtype=np.float64) / len(voxels)
    variance = squares - np.square(mean, dtype=np.float64)
    return np.sqrt(np.maximum(variance, 0)).astype(np.float32)
