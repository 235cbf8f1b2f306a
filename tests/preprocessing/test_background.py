"""What counts as background, and what does not."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from tests.nifti_files import LPS, config
from unet3d.datasets.nifti import Header
from unet3d.preprocessing.background import (
    background_value,
    differs,
    fill_enclosed,
    foreground_box,
)
from unet3d.preprocessing.case import standard_image
from unet3d.viewer.case import _grey, _usual_window

SHAPE = (24, 26, 20)
BODY = (slice(4, 20), slice(4, 22), slice(3, 17))


def ct(seed: int = 0) -> np.ndarray:
    """int16 in HU: noisy air of about -1000, a body of about 40 with some voxels of exactly 0."""
    random = np.random.default_rng(seed)
    volume = random.normal(-1000, 12, SHAPE).round().astype(np.int16)
    body = random.normal(40, 25, (16, 18, 14)).round().astype(np.int16)
    body[random.random(body.shape) < 0.05] = 0
    volume[BODY] = body
    return volume


def brain(background: float = 0.0) -> np.ndarray:
    """float32: an ellipsoid of values above the background, with one hole of it inside."""
    random = np.random.default_rng(1)
    grid = np.meshgrid(*(np.linspace(-1.2, 1.2, size) for size in SHAPE), indexing="ij")
    inside = sum(axis**2 for axis in grid) < 1
    volume = np.where(inside, background + 3 + random.normal(0, 0.5, SHAPE), background)
    volume[12, 13, 10] = background
    return volume.astype(np.float32)


def standard(volume: np.ndarray, tmp_path: Any, intercept: float = 0.0) -> np.ndarray:
    header = Header(volume.shape, LPS, volume.dtype, 1.0, intercept, 352)
    image, _, _, _ = standard_image(tmp_path, [(volume, header)], config(tmp_path), ("CT",))
    return image[..., 0].astype(np.float32)


def test_zero_within_a_ct_is_a_value_like_its_neighbours(tmp_path):
    """Water in a body surrounded by noisy air keeps its z-score: nothing is background."""
    volume = ct()
    assert background_value(volume) is None
    expected = (volume - volume.mean(dtype=float)) / volume.std(dtype=float)
    found = standard(volume, tmp_path)[::-1, ::-1]  # LPS, stored as RAS
    np.testing.assert_allclose(found, expected, atol=2e-3)


@pytest.mark.parametrize("padding", [None, -1024, -2000, 0])
def test_another_intercept_changes_nothing(tmp_path, padding):
    """The same scan as int16, and as uint16 with an intercept, is the same to the network."""
    volume = ct()
    if padding is not None:
        volume[:6], volume[-3:] = padding, padding
    other = (volume.astype(np.int32) + 2000).astype(np.uint16)
    np.testing.assert_array_equal(
        standard(volume, tmp_path), standard(other, tmp_path, intercept=-2000)
    )


@pytest.mark.parametrize("value", [0.0, -3.2])
def test_a_hole_inside_is_not_background(tmp_path, value):
    """Around the brain is background, exactly 0 afterwards; a voxel like it inside is not."""
    volume = brain(value)
    assert background_value(volume) == np.float32(value)
    mask = fill_enclosed(volume != np.float32(value))
    assert mask[12, 13, 10] and np.count_nonzero(mask) == np.count_nonzero(volume != value) + 1
    found = standard(volume, tmp_path)
    assert found.min() < -3 and np.count_nonzero(found == 0) == np.count_nonzero(
        ~mask[foreground_box([mask])]
    )


def test_a_channel_that_reaches_the_face_has_no_hole_there():
    """A groove that is open to a face, also along a diagonal of faces, is outside."""
    mask = np.ones((6, 6, 6), bool)
    mask[:3, 3, 3] = mask[2, 3:5, 3] = mask[2, 4, 2] = False
    mask[4, 4, 4] = False  # touches nothing
    filled = fill_enclosed(mask.copy())
    assert filled[4, 4, 4] and np.count_nonzero(~filled) == 5
    np.testing.assert_array_equal(fill_enclosed(np.asfortranarray(mask)), filled)


@pytest.mark.parametrize(
    ("name", "volume", "expected"),
    [
        (
            "corners padded, lowest",
            np.where(np.hypot(*np.mgrid[-9:10, -9:10])[..., None] < 10, ct()[:19, :19, :19], -2000),
            -2000,
        ),
        ("noise cut off at 0", np.random.default_rng(0).normal(0, 5, SHAPE).clip(0), None),
        ("negative values beside a background of 0", brain() - 5 * (brain() > 3), 0),
        ("infinite around", np.where(brain() > 0, brain(), -np.inf), None),
        ("NaN around", np.where(brain() > 0, brain(), np.nan), None),
        ("one value", np.full(SHAPE, 7, np.int16), 7),
        ("no border of one value", np.random.default_rng(0).integers(0, 99, SHAPE), None),
    ],
)
def test_a_value_has_to_prove_itself(name, volume, expected):
    """It fills areas of the border; scattered voxels of one value do not."""
    assert background_value(volume) == expected, name


def test_no_background_keeps_the_whole_box():
    """Without background nothing is cropped."""
    volume = ct()
    assert foreground_box([differs(volume, None)]) == tuple(slice(0, size) for size in SHAPE)
    assert foreground_box([np.zeros(SHAPE, bool)]) is None


def test_tiny_values_are_grey_not_black():
    """`view` scales by the range of the values, however small."""
    values = np.linspace(1e-60, 2e-60, 64).reshape(4, 4, 4)
    inside = np.ones(values.shape, bool)
    grey = _grey(values, inside, _usual_window(values, inside))
    assert grey.min() == 0 and grey.max() == 255
