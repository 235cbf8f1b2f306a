"""Surface metrics against surface-distance, and against their definitions by brute force."""

from __future__ import annotations

import warnings
from typing import Any

import numpy as np
import pytest
from scipy import ndimage

from tests.evaluation.blobs import SPACINGS, blobs, cube
from unet3d.evaluation.surface import (
    WORST_MM,
    assd,
    hausdorff,
    surface_dice,
    surface_distances,
)
from unet3d.evaluation.surface_areas import BITS, CORNERS, element_areas

peer = pytest.importorskip("surface_distance")


def single(*places: tuple[int, int, int]) -> np.ndarray:
    mask = np.zeros((9, 8, 7), dtype=bool)
    for place in places:
        mask[place] = True
    return mask


PAIRS = {
    **{f"blobs {seed}": blobs(seed) for seed in range(6)},
    "all and a part": (np.ones((6, 7, 8), dtype=bool), cube((0, 2, 3), 2, (6, 7, 8))),
    "equal": (cube((4, 5, 6)), cube((4, 5, 6))),
    "at the border": (cube((0, 0, 0)), cube((17, 17, 17))),
    "single voxels": (single((0, 0, 0)), single((8, 7, 6), (1, 0, 0))),
    "touching by a corner": (single((3, 3, 3), (4, 4, 4)), single((3, 4, 3), (4, 3, 4))),
    "scattered": tuple(np.random.default_rng(5).random((2, 12, 13, 14)) > 0.6),
}


def reference(truth: np.ndarray, prediction: np.ndarray, spacing: tuple) -> dict[str, Any]:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # it names scipy's modules as of old
        return peer.compute_surface_distances(truth, prediction, spacing)


@pytest.mark.parametrize("spacing", SPACINGS)
@pytest.mark.parametrize("name", PAIRS)
def test_equals_surface_distance(name: str, spacing: tuple[float, float, float]) -> None:
    truth, prediction = PAIRS[name]
    ours = surface_distances(truth, prediction, spacing)
    theirs = reference(truth, prediction, spacing)
    for percent in (50, 90, 95, 100):
        expected = peer.compute_robust_hausdorff(theirs, percent)
        assert hausdorff(ours, percent) == pytest.approx(expected, rel=1e-6)
    for tolerance in (0.0, 0.7, 1.0, 2.0, 5.0):
        expected = peer.compute_surface_dice_at_tolerance(theirs, tolerance)
        assert surface_dice(ours, tolerance) == pytest.approx(expected, abs=1e-6)
    means = peer.compute_average_surface_distance(theirs)
    areas = theirs["surfel_areas_gt"].sum(), theirs["surfel_areas_pred"].sum()
    assert assd(ours) == pytest.approx(np.average(means, weights=areas), rel=1e-6)


@pytest.mark.parametrize("spacing", SPACINGS)
def test_areas_equal_surface_distance(spacing: tuple[float, float, float]) -> None:
    from surface_distance import lookup_tables

    theirs = lookup_tables.create_table_neighbour_code_to_surface_area(spacing)
    kernel = lookup_tables.ENCODE_NEIGHBOURHOOD_3D_KERNEL
    order = [
        sum(int(kernel[corner]) for corner in CORNERS if BITS[corner] & code) for code in range(256)
    ]
    np.testing.assert_allclose(element_areas(spacing), theirs[order], rtol=1e-12)


def test_area_of_a_box_is_that_of_its_faces_less_its_edges() -> None:
    spacing = (0.5, 1.0, 2.0)
    size = np.array([30, 40, 50])
    mask = np.ones(size, dtype=bool)
    area = surface_distances(mask, mask, spacing).truth_areas.sum()
    x, y, z = size * spacing
    faces = 2 * (x * y + y * z + x * z)
    assert 0.9 * faces < area < faces


@pytest.mark.parametrize("spacing", SPACINGS)
@pytest.mark.parametrize("seed", range(4))
def test_hausdorff_is_within_a_voxel_of_that_between_voxels(
    seed: int, spacing: tuple[float, float, float]
) -> None:
    truth, prediction = blobs(seed)

    def surface(mask: np.ndarray) -> np.ndarray:
        return mask & ~ndimage.binary_erosion(mask)

    def one_way(start: np.ndarray, target: np.ndarray) -> float:
        return ndimage.distance_transform_edt(~surface(target), spacing)[surface(start)].max()

    between_voxels = max(one_way(truth, prediction), one_way(prediction, truth))
    ours = hausdorff(surface_distances(truth, prediction, spacing))
    assert abs(ours - between_voxels) <= np.linalg.norm(spacing)


def test_a_shift_along_one_axis() -> None:
    distances = surface_distances(cube((4, 4, 4), 5), cube((4, 4, 7), 5), (1.0, 1.0, 1.5))
    assert hausdorff(distances) == 4.5
    assert hausdorff(distances, 0) == 0
    assert 0 < assd(distances) < 4.5
    assert surface_dice(distances, 4.5) == 1


def test_a_distance_equal_to_the_tolerance_is_within() -> None:
    for step in (0.1, 0.7, 0.9, 1.1, 3.3):
        distances = surface_distances(cube((4, 4, 4)), cube((5, 4, 4)), (step, 9.0, 9.0))
        assert surface_dice(distances, step) == 1


def test_swapping_the_masks_changes_nothing() -> None:
    truth, prediction = blobs(7)
    one = surface_distances(truth, prediction, SPACINGS[2])
    other = surface_distances(prediction, truth, SPACINGS[2])
    assert hausdorff(one, 95) == hausdorff(other, 95)
    assert assd(one) == pytest.approx(assd(other), rel=1e-12)
    assert surface_dice(one) == pytest.approx(surface_dice(other), rel=1e-12)


def test_empty_masks_follow_brats() -> None:
    full, empty = cube((4, 4, 4)), np.zeros((20, 20, 20), dtype=bool)
    for truth, prediction in ((full, empty), (empty, full)):
        distances = surface_distances(truth, prediction, (1, 1, 1))
        assert hausdorff(distances) == hausdorff(distances, 95) == assd(distances) == WORST_MM
        assert surface_dice(distances) == 0
    distances = surface_distances(empty, empty, (1, 1, 1))
    assert hausdorff(distances) == hausdorff(distances, 95) == assd(distances) == 0
    assert surface_dice(distances) == 1


def test_the_worst_distance_is_the_diagonal_of_a_brats_volume() -> None:
    assert pytest.approx(np.linalg.norm((240, 240, 155)), abs=0.005) == WORST_MM


@pytest.mark.parametrize("spacing", [(1, 1), (1, 0, 1), (1, -1, 1), (1, float("nan"), 1)])
def test_a_spacing_that_is_none(spacing: tuple[float, ...]) -> None:
    with pytest.raises(ValueError, match="spacing"):
        surface_distances(cube((1, 1, 1)), cube((1, 1, 1)), spacing)


def test_percentages_and_tolerances_that_are_none() -> None:
    distances = surface_distances(cube((1, 1, 1)), cube((1, 1, 1)), (1, 1, 1))
    with pytest.raises(ValueError, match="percent 101"):
        hausdorff(distances, 101)
    with pytest.raises(ValueError, match="tolerance -1"):
        surface_dice(distances, -1)
