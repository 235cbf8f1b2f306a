"""Augmentation: image and label move together, intensities stay in range."""

from __future__ import annotations

from dataclasses import replace
from itertools import product

import ml_dtypes
import numpy as np
import pytest
from scipy import ndimage

from unet3d.config.schema import AugmentConfig
from unet3d.sampling.augment import (
    Intensity,
    Spatial,
    blur,
    change_intensity,
    contrast,
    draw_flips,
    draw_intensity,
    draw_spatial,
    gamma,
    to_float32,
    warp_patch,
)


@pytest.fixture
def volume() -> tuple[np.ndarray, np.ndarray]:
    random = np.random.default_rng(0)
    image = random.standard_normal((9, 9, 9, 2)).astype(np.float16)
    return image, (image[..., 0] > 0.5).astype(np.uint8)


def centre(label: np.ndarray) -> np.ndarray:
    return (np.array(label.shape) - 1) / 2


@pytest.mark.parametrize("kind", [np.float16, ml_dtypes.bfloat16])
def test_every_value_of_16_bits_is_widened(kind: type) -> None:
    """All finite values, subnormal ones among them, as NumPy widens them, mirrored or not."""
    bits = np.arange(2**16, dtype=np.uint16)
    values = bits.view(kind)
    finite = np.where(np.isfinite(values.astype(np.float32)), bits, 0).view(kind)
    image = finite.reshape(32, 16, 64, 2)
    for chosen in product((False, True), repeat=3):
        axes = tuple(axis for axis, flip in enumerate(chosen) if flip)
        expected = np.flip(image.astype(np.float32), axes)
        np.testing.assert_array_equal(to_float32(image, axes), expected)


@pytest.mark.parametrize("channels", [1, 2, 5])
@pytest.mark.parametrize("seed", range(4))
def test_resampling_is_scipys(seed: int, channels: int) -> None:
    """Rotated, scaled and mirrored, inside and beyond the volume, against affine_transform."""
    random = np.random.default_rng(seed)
    image = random.standard_normal((17, 13, 15, channels)).astype(np.float16)
    label = random.integers(0, 4, image.shape[:3], dtype=np.uint8)
    always = AugmentConfig(name="test", rotate=1.0, scale=1.0, flip=0.5)
    spatial, flips = draw_spatial(random, always), draw_flips(random, always)
    patch, middle = (26, 9, 12), centre(label) + random.uniform(-4, 4, 3)
    found, found_label = warp_patch(image, label, spatial, patch, middle, flips)
    # Zeros around it, or SciPy would end the volume at the middle of its last voxels.
    offset = middle + 20 - spatial.matrix @ ((np.array(patch) - 1) / 2)
    settings = {"offset": offset, "output_shape": patch}
    for channel in range(channels):
        padded = np.pad(image[..., channel].astype(np.float32), 20)
        expected = ndimage.affine_transform(padded, spatial.matrix, order=1, **settings)
        np.testing.assert_allclose(found[..., channel], np.flip(expected, flips), atol=1e-3)
    nearest = ndimage.affine_transform(np.pad(label, 20), spatial.matrix, order=0, **settings)
    assert (found_label != np.flip(nearest, flips)).mean() < 0.005  # halfway between two voxels
    assert (found == 0).any() and (found_label > 0).any()


def test_identity_reads_the_patch_itself(volume: tuple[np.ndarray, np.ndarray]) -> None:
    """Without rotation and scaling nothing more is read and nothing changes."""
    spatial = Spatial(np.eye(3))
    assert spatial.extent((5, 5, 5)) == (5, 5, 5)
    image, label = warp_patch(*volume, spatial, (9, 9, 9), centre(volume[1]))
    np.testing.assert_allclose(image, volume[0], atol=1e-6)
    np.testing.assert_array_equal(label, volume[1])


def test_scale_above_one_enlarges() -> None:
    """A cube of 3 voxels, magnified twice, covers about 6 a side; the box read is smaller."""
    label = np.zeros((15, 15, 15), np.uint8)
    label[6:9, 6:9, 6:9] = 1
    image = label[..., None].astype(np.float16)
    always = AugmentConfig(name="test", scale=1.0, scale_range=[2.0, 2.0])
    spatial = draw_spatial(np.random.default_rng(0), always)
    assert max(spatial.extent((15, 15, 15))) < 15
    _, larger = warp_patch(image, label, spatial, (15, 15, 15), centre(label))
    assert 5**3 <= np.count_nonzero(larger) <= 7**3


def test_contrast_and_gamma_are_what_they_say() -> None:
    """Against their formulas, within the channel's range, for a count that no lane divides."""
    image = np.random.default_rng(0).standard_normal((9, 7, 5, 3)).astype(np.float32) * [1, 5, 0.1]
    image = image.astype(np.float32)
    low, high = image.min((0, 1, 2)), image.max((0, 1, 2))
    mean = image.mean((0, 1, 2))
    scaled = (image - low) / (high - low)
    for change, amount, expected in (
        (contrast, 1.3, np.clip((image - mean) * 1.3 + mean, low, high)),
        (contrast, 0.8, np.clip((image - mean) * 0.8 + mean, low, high)),
        (gamma, 1.4, scaled**1.4 * (high - low) + low),
        (gamma, 1.0, image),
    ):
        changed = image.copy()
        change(changed, amount)
        np.testing.assert_allclose(changed, expected, rtol=1e-4, atol=1e-5)


def test_gamma_may_keep_mean_and_deviation() -> None:
    """Each channel's, as nnU-Net's does; what it does to the order of intensities stays."""
    random = np.random.default_rng(1)
    image = (random.gamma(2.0, 1.0, (9, 8, 7, 2)) - 1).astype(np.float32)
    curved, kept = image.copy(), image.copy()
    gamma(curved, 1.4)
    gamma(kept, 1.4, keeps=True)
    axes = (0, 1, 2)
    np.testing.assert_allclose(kept.mean(axes), image.mean(axes), atol=1e-5)
    np.testing.assert_allclose(kept.std(axes), image.std(axes), rtol=1e-4)
    assert abs(curved.mean() - image.mean()) > 0.1
    for channel in range(2):
        alike = np.corrcoef(kept[..., channel].ravel(), curved[..., channel].ravel())
        assert alike[0, 1] > 0.99999


def test_brightness_and_a_lower_resolution_are_what_they_say() -> None:
    """A factor; and of half the voxels, every second one with straight lines between them."""
    image = np.random.default_rng(0).standard_normal((8, 8, 8, 2)).astype(np.float32)
    bright, low = image.copy(), image.copy()
    change_intensity(bright, Intensity(brightness=1.2))
    np.testing.assert_allclose(bright, image * np.float32(1.2))
    change_intensity(low, Intensity(resolution=0.5))
    kept = image[1::2, 1::2, 1::2]
    factors = (2, 2, 2, 1)
    expected = ndimage.zoom(kept, factors, order=1, mode="nearest", grid_mode=True)
    np.testing.assert_allclose(low, expected, atol=1e-5)


def test_the_mean_of_many_voxels_keeps_its_digits() -> None:
    """Sums of millions of voxels in float32 would lose what contrast turns about."""
    image = np.full((128, 128, 128, 1), 1000.0, np.float32)
    image[..., :64, :] += 0.25
    before = image.copy()
    contrast(image, 1.0)
    np.testing.assert_allclose(image, before, atol=1e-3)


@pytest.mark.parametrize("sigma", [0.5, 1.0])
def test_blur_is_scipys(sigma: float) -> None:
    """The Gaussian, cut where SciPy's is, reflected at the borders, each channel alone."""
    image = np.random.default_rng(0).standard_normal((9, 70, 11, 2)).astype(np.float32)
    image[..., 1] = 0
    expected = ndimage.gaussian_filter(image, (sigma, sigma, sigma, 0), truncate=3.0)
    blur(image, sigma)
    np.testing.assert_allclose(image, expected, atol=1e-5)
    assert not image[..., 1].any()


def test_probability_zero_changes_nothing(volume: tuple[np.ndarray, np.ndarray]) -> None:
    """augment=none hands on what was read."""
    nothing = AugmentConfig(name="none")
    random = np.random.default_rng(2)
    assert draw_spatial(random, nothing).identity and draw_flips(random, nothing) == ()
    image = to_float32(volume[0])
    before = image.copy()
    assert draw_intensity(random, nothing) == Intensity()
    change_intensity(image, Intensity())
    np.testing.assert_array_equal(image, before)


def test_all_of_them_at_once() -> None:
    """Every intensity change is drawn, and what comes out is finite and another image."""
    always = AugmentConfig(name="test", blur=1.0, contrast=1.0, gamma=1.0, noise=1.0)
    always = replace(always, brightness=1.0, low_resolution=1.0)
    image = np.random.default_rng(0).standard_normal((12, 12, 12, 2)).astype(np.float32)
    before = image.copy()
    change_intensity(image, draw_intensity(np.random.default_rng(1), always))
    assert np.isfinite(image).all() and np.abs(image - before).mean() > 0.05
