"""Each compiled kernel on small arrays, against NumPy and SciPy."""

from __future__ import annotations

from itertools import product

import ml_dtypes
import numpy as np
import pytest
from scipy import ndimage

from unet3d.sampling.augment_kernels import (
    LANES,
    STRIP,
    inner_range,
    scale_and_clip,
    smooth,
    statistics,
    warp,
    widen,
)


@pytest.mark.parametrize("kind", [np.float16, ml_dtypes.bfloat16])
def test_widen_keeps_the_sign_of_zero_and_the_smallest_values(kind: type) -> None:
    """Subnormal values and -0 survive, also mirrored along z, where a row takes a detour."""
    values = np.array([[[[0.0, -0.0], [6e-8, -6e-8], [1.5, -2.0]]]]).astype(kind)
    for flip in (False, True):
        wide = np.full(values.shape, np.nan, np.float32)
        flips = np.array([False, False, flip])
        widen(values.view(np.uint16), kind is np.float16, flips, wide)
        expected = np.flip(values, 2) if flip else values
        np.testing.assert_array_equal(wide, expected.astype(np.float32))
        np.testing.assert_array_equal(np.signbit(wide), np.signbit(expected.astype(np.float32)))


@pytest.mark.parametrize("step", [(0.0, 0.0, 1.0), (0.3, -0.4, 0.9), (0.0, 0.5, -1.2)])
def test_inner_range_never_leaves_the_volume(step: tuple[float, float, float]) -> None:
    """All k in the range have both neighbours on each axis inside; few that have are left out."""
    shape, length, direction = (7, 9, 11), 16, np.array(step)
    found = 0
    for start in product((-3.0, 0.5, 5.2), (-1.0, 4.1, 8.5), (-2.5, 3.3, 10.0)):
        origin = np.array(start)
        first, last = inner_range(origin, direction, length, shape)
        points = origin + np.arange(length)[:, None] * direction
        inside = ((points >= 0) & (points <= np.array(shape) - 1)).all(axis=1)
        assert inside[first:last].all() and 0 <= first <= last <= length
        # Only points within 1/1000 of a voxel from the border may be left to the slow path.
        assert inside.sum() - (last - first) <= 2
        found += last - first
    assert found > 10


def test_warp_by_half_a_voxel_is_the_mean_of_neighbours() -> None:
    """The image is interpolated, the label takes the nearest, and outside counts as 0."""
    random = np.random.default_rng(0)
    image = random.standard_normal((4, 5, 6, 2)).astype(np.float32)
    label = random.integers(0, 4, (4, 5, 6), dtype=np.uint8)
    moved = np.full((4, 5, 6, 2), np.nan, np.float32)
    moved_label: np.ndarray = np.full((4, 5, 6), 9, np.uint8)
    warp(image, label, np.eye(3), np.array([0.0, 0.0, 0.5]), moved, moved_label)
    padded = np.pad(image, ((0, 0), (0, 0), (0, 1), (0, 0)))
    np.testing.assert_allclose(moved, (padded[:, :, :-1] + padded[:, :, 1:]) / 2, atol=1e-6)
    np.testing.assert_array_equal(moved_label[:, :, :-1], label[:, :, 1:])
    assert not moved_label[:, :, -1].any()  # beyond the last voxel


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("count", [1, LANES - 1, LANES, 300 * LANES + 5])
def test_statistics_are_numpys(count: int, channels: int) -> None:
    """For fewer voxels than lanes, a rest, and more blocks than are summed in float32."""
    random = np.random.default_rng(count)
    voxels = (random.standard_normal((count, channels)) + 7).astype(np.float32)
    low, high, mean = statistics(voxels)
    np.testing.assert_array_equal(low, voxels.min(axis=0))
    np.testing.assert_array_equal(high, voxels.max(axis=0))
    np.testing.assert_allclose(mean, voxels.mean(axis=0, dtype=np.float64), rtol=1e-6)


@pytest.mark.parametrize("count", [3, 2 * LANES, 5 * LANES + 1])
def test_scale_and_clip_is_numpys(count: int) -> None:
    """Each channel has its own factor, shift and limits, also in the last, shorter block."""
    voxels = np.random.default_rng(0).standard_normal((count, 3)).astype(np.float32)
    factor, shift = np.float32([1, -2, 0.5]), np.float32([0, 1, -1])
    low, high = np.float32([-0.5, -1, -9]), np.float32([0.5, 1, 9])
    expected = np.clip(voxels * factor + shift, low, high)
    scale_and_clip(voxels, factor, shift, low, high)
    np.testing.assert_allclose(voxels, expected, atol=1e-6)


@pytest.mark.parametrize("shape", [(2, 9, 3), (1, 4, STRIP + 7), (3, 2, 1)])
@pytest.mark.parametrize("radius", [1, 3])
def test_smooth_is_scipys(shape: tuple[int, int, int], radius: int) -> None:
    """Reflected at both ends, also where the weights are longer than the line, in every strip."""
    lines = np.random.default_rng(0).standard_normal(shape).astype(np.float32)
    half = np.float32([4, 3, 2, 1][: radius + 1])
    weights = np.concatenate([half[:0:-1], half]) / (2 * half.sum() - half[0])
    smoothed = np.full_like(lines, np.nan)
    smooth(lines, weights, smoothed)
    expected = ndimage.correlate1d(lines, weights, axis=1, mode="reflect")
    np.testing.assert_allclose(smoothed, expected, atol=1e-6)
