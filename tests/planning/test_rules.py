"""The planner, on numbers alone: memory is a function that the test writes down."""

from __future__ import annotations

from math import prod

import numpy as np
import pytest

from unet3d.planning.rules import (
    LARGEST,
    choose_batch,
    choose_patch,
    largest_batch,
    median_size,
)

BRAIN = (138, 171, 137)


def memory(patch) -> float:
    return 100.0 + prod(patch)


@pytest.mark.parametrize("stride", [4, 8, 32])
@pytest.mark.parametrize("budget", [1e5, 1e6, 3e6, 1e9])
def test_a_patch_fits_divides_and_stays_within_the_volume(stride, budget):
    """It fits, and the step before the last shortening would not have."""
    patch = choose_patch(BRAIN, (1, 1, 1), [stride] * 3, budget, memory)
    assert all(size % stride == 0 for size in patch) and memory(patch) <= budget
    assert all(size < whole + stride for size, whole in zip(patch, BRAIN, strict=True))
    larger = [np.add(patch, step).tolist() for step in stride * np.eye(3, dtype=int)]
    larger = [p for p in larger if all(s < w + stride for s, w in zip(p, BRAIN, strict=True))]
    assert budget == 1e9 or any(memory(patch) > budget for patch in larger)


def test_ample_memory_takes_the_median_volume_rounded_up():
    """No axis is left smaller than the volume where all of it fits."""
    assert choose_patch(BRAIN, (1, 1, 1), [8] * 3, 1e12, memory) == [144, 176, 144]


def test_a_large_volume_begins_as_a_cube_in_mm():
    """Of a volume beyond 256^3 voxels, coarse slices are as thick in mm as the plane is wide."""
    x, y, z = choose_patch((900, 900, 300), (1, 1, 4), [4] * 3, 1e12, memory)
    assert x == y and x == pytest.approx(4 * z, rel=0.05)
    assert x * y * z == pytest.approx(LARGEST, rel=0.1)


def test_the_aspect_follows_the_volume_and_the_larger_of_equals_is_shortened():
    """Shortened by one step, the axis is the one that is longest beside the volume."""
    volume, budget = (64, 128, 64), memory((64, 112, 64))
    assert choose_patch(volume, (1, 1, 1), [16] * 3, budget, memory) == [64, 112, 64]
    enough = memory((64, 64, 16))
    assert choose_patch((60, 68, 12), (1, 1, 1), [8] * 3, enough, memory) == [64, 64, 16]
    x, y, z = choose_patch(volume, (1, 1, 1), [4] * 3, 1e5, memory)
    assert x == pytest.approx(z, abs=4) and y == pytest.approx(2 * x, abs=8) and y < 128


def test_where_nothing_fits_there_is_no_patch():
    """The planner says so instead of giving a patch that will run out of memory."""
    assert choose_patch(BRAIN, (1, 1, 1), [16] * 3, memory((16, 16, 16)), memory) == [16, 16, 16]
    assert choose_patch(BRAIN, (1, 1, 1), [16] * 3, memory((16, 16, 16)) - 1, memory) is None


def test_a_batch_is_the_largest_that_fits_and_comes_out_even():
    """A multiple of the replicas, no larger than its share of the data, never below the least."""

    def cost(size) -> float:
        return 10.0 * size

    assert choose_batch(2, 2, 100, 75.0, cost) == 6
    assert choose_batch(2, 2, 4, 75.0, cost) == 4
    assert choose_batch(8, 2, 4, 75.0, cost) == 8
    assert choose_batch(2, 2, 100, 5.0, cost) == 2
    assert largest_batch([(100, 100, 100)] * 20, (50, 50, 50)) == 8  # 5 % of 20e6 voxels


def test_median_size_is_of_each_axis():
    """Whole voxels, also of an even number of cases."""
    assert median_size([(10, 20, 30), (20, 10, 35), (12, 12, 12)]) == (12, 12, 30)
    assert median_size([(10, 20, 30), (20, 10, 32)]) == (15, 15, 31)
