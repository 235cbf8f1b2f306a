"""Z-scores of values that float32 cannot hold."""

from __future__ import annotations

import numpy as np
import pytest

from tests.nifti_files import LPS, config
from unet3d.datasets.nifti import Header
from unet3d.errors import DataError
from unet3d.preprocessing.case import standard_image


def standard(values: np.ndarray, tmp_path, slope: float = 1.0, intercept: float = 0.0):
    header = Header(values.shape, LPS, values.dtype, slope, intercept, 352)
    image, *_ = standard_image(tmp_path / "a.nii", [(values, header)], config(tmp_path), ("T1",))
    return image[..., 0].astype(np.float32)[::-1, ::-1]


def plain(shape=(8, 9, 10)) -> np.ndarray:
    return np.random.default_rng(0).integers(-900, 900, shape).astype(np.int16)


@pytest.mark.parametrize("scale", [1e-300, 1e-60, 1e-30, 1e-19, 1.0, 1e25, 1e60, 1e300])
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_no_magnitude_is_lost(tmp_path, scale, dtype):
    """The z-scores do not depend on the unit, down to 1e-300; nothing finite is taken for NaN."""
    with np.errstate(over="ignore"):
        values = (plain() * scale).astype(dtype)
    if values.any() and np.isfinite(values).all():
        expected = standard(plain(), tmp_path)
        np.testing.assert_allclose(standard(values, tmp_path), expected, atol=2e-3)


@pytest.mark.parametrize(("slope", "intercept"), [(1e-50, 0.0), (1e-3, 1e4), (1e60, 0.0)])
def test_extreme_slopes_and_intercepts(tmp_path, slope, intercept):
    """What the header does to the values is computed without loss, too."""
    found = standard(plain(), tmp_path, slope, intercept)
    np.testing.assert_allclose(found, standard(plain(), tmp_path), atol=2e-3)


def test_far_from_zero_and_close_together(tmp_path):
    """Differences that float32 rounds away are kept; less than a millionth is a warning."""
    near = plain().astype(np.float64) + 1e7
    np.testing.assert_allclose(standard(near, tmp_path), standard(plain(), tmp_path), atol=2e-3)


def test_a_channel_taken_as_constant_is_named(tmp_path, caplog):
    """Nearly constant values become 0, with one line that says so."""
    assert not standard(plain() * 1e-9 + 1.0, tmp_path).any()
    assert "channel T1: varies by a millionth" in caplog.text


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_what_is_not_finite_is_counted(tmp_path, value):
    """NaN and infinity are refused, with how many there are."""
    values = plain().astype(np.float32)
    values[3, 3, 3:5] = value
    with pytest.raises(DataError, match="channel T1: 2 voxels are NaN or infinite"):
        standard(values, tmp_path)
