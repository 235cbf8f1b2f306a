"""Augmentation: image and label move together, intensities stay in range."""

from __future__ import annotations

import numpy as np
import pytest

from unet3d.config import AugmentConfig
from unet3d.data.augment import (
    Spatial,
    blur,
    change_intensity,
    contrast,
    draw_spatial,
    flip,
    gamma,
    resample,
)


@pytest.fixture
def volume() -> tuple[np.ndarray, np.ndarray]:
    random = np.random.default_rng(0)
    image = random.standard_normal((9, 9, 9, 2)).astype(np.float32)
    return image, (image[..., 0] > 0.5).astype(np.uint8)


def test_identity_reads_the_patch_itself(volume: tuple[np.ndarray, np.ndarray]) -> None:
    """Without rotation and scaling nothing more is read and nothing changes."""
    spatial = Spatial(np.eye(3))
    assert spatial.extent((5, 5, 5)) == (5, 5, 5)
    image, label = resample(*volume, spatial, (9, 9, 9))
    np.testing.assert_allclose(image, volume[0], atol=1e-6)
    np.testing.assert_array_equal(label, volume[1])


def test_quarter_turn_is_rot90(volume: tuple[np.ndarray, np.ndarray]) -> None:
    """A rotation by 90 degrees is exact, for the image and for the label."""
    turn = np.array([[0.0, -1, 0], [1, 0, 0], [0, 0, 1]])
    image, label = resample(*volume, Spatial(turn), (9, 9, 9))
    for turned, original in ((image, volume[0]), (label, volume[1])):
        expected = np.rot90(original, k=-1)
        other = np.rot90(original, k=1)
        assert np.allclose(turned, expected, atol=1e-5) or np.allclose(turned, other, atol=1e-5)
    assert np.array_equal(label, np.rot90(volume[1], k=-1)) == np.allclose(
        image, np.rot90(volume[0], k=-1), atol=1e-5
    )


def test_scale_above_one_enlarges() -> None:
    """A cube of 3 voxels, magnified twice, covers about 6 a side; the box read is smaller."""
    label = np.zeros((15, 15, 15), np.uint8)
    label[6:9, 6:9, 6:9] = 1
    image = label[..., None].astype(np.float32)
    always = AugmentConfig(name="test", scale=1.0, scale_range=[2.0, 2.0])
    spatial = draw_spatial(np.random.default_rng(0), always)
    assert max(spatial.extent((15, 15, 15))) < 15
    _, larger = resample(image, label, spatial, (15, 15, 15))
    assert 5**3 <= np.count_nonzero(larger) <= 7**3


def test_flip_moves_image_and_label_together(volume: tuple[np.ndarray, np.ndarray]) -> None:
    """The label of a flipped image is the flipped label."""
    image, label = flip(np.random.default_rng(1), *volume, AugmentConfig(name="test", flip=1.0))
    np.testing.assert_array_equal(image, volume[0][::-1, ::-1, ::-1])
    np.testing.assert_array_equal(label, volume[1][::-1, ::-1, ::-1])


def test_contrast_and_gamma_stay_in_range(volume: tuple[np.ndarray, np.ndarray]) -> None:
    """Neither leaves the channel's range; a factor or exponent of 1 changes nothing."""
    image = volume[0]
    for change in (contrast, gamma):
        np.testing.assert_allclose(change(image, 1.0), image, atol=1e-5)
        changed = change(image, 1.3)
        assert changed.dtype == np.float32
        assert not np.allclose(changed, image, atol=1e-2)
        assert (changed.min((0, 1, 2)) >= image.min((0, 1, 2)) - 1e-5).all()
        assert (changed.max((0, 1, 2)) <= image.max((0, 1, 2)) + 1e-5).all()


def test_blur_smooths_each_channel_alone(volume: tuple[np.ndarray, np.ndarray]) -> None:
    """Variance falls; a channel of zeros stays zero beside another."""
    image = volume[0].copy()
    image[..., 1] = 0
    blurred = blur(image, 1.0)
    assert blurred[..., 0].std() < 0.5 * image[..., 0].std()
    assert not blurred[..., 1].any()


def test_probability_zero_changes_nothing(volume: tuple[np.ndarray, np.ndarray]) -> None:
    """augment=none hands on what was read."""
    nothing = AugmentConfig(name="none")
    random = np.random.default_rng(2)
    assert draw_spatial(random, nothing).identity
    np.testing.assert_array_equal(change_intensity(random, volume[0], nothing), volume[0])
