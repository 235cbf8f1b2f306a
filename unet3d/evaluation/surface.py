"""Distances between the surfaces of two masks, and the metrics that follow from them.

All metrics here come from one pair of distance maps and one definition of a surface, that of
DeepMind's `surface-distance` (Nikolov et al. 2021): points between voxels, each with the area of
the piece of surface around it. HD is therefore never below HD95, and a jagged surface counts no
more than a smooth one. MedPy and MONAI measure between voxel centres of equal weight instead:
their HD differs by at most a voxel's diagonal.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from unet3d.evaluation.overlap import check_spacing, joint_crop
from unet3d.evaluation.surface_areas import INSIDE, element_areas, neighbour_codes
from unet3d.masks import squared_distances

# mm, the distance to a surface that does not exist: the diagonal of the BraTS volumes,
# sqrt(240^2 + 240^2 + 155^2), which evaluations of BraTS customarily give. The organisers' own
# scores of 2023 round it up to 374 (https://synapse.org/Synapse:syn51156910, thread 10357).
WORST_MM = 373.13

# The maps are float32, and a distance equal to the tolerance must not fail by their rounding.
ROUNDING = 1e-6


class SurfaceDistances(NamedTuple):
    """Each surface element's distance to the other mask's surface (mm) and its area (mm^2)."""

    truth: np.ndarray
    truth_areas: np.ndarray
    prediction: np.ndarray
    prediction_areas: np.ndarray

    def one_empty(self) -> bool:
        """Whether exactly one mask is empty."""
        return (self.truth.size == 0) != (self.prediction.size == 0)

    def both_empty(self) -> bool:
        """Whether both masks are empty."""
        return self.truth.size == 0 and self.prediction.size == 0


def surface_distances(
    truth: np.ndarray, prediction: np.ndarray, spacing: Sequence[float]
) -> SurfaceDistances:
    """How far each element of one mask's surface is from the other's (Nikolov et al. 2021).

    truth, prediction: boolean (x, y, z); spacing: mm along each axis. A mask that touches the
    volume's border has a surface there.
    Returns float64 vectors, one pair per mask; those of an empty mask are empty, and the other's
    distances are then infinite. Raises ValueError where the shapes differ. Relative error: 1e-6.
    """
    spacing = check_spacing(spacing)
    codes = [neighbour_codes(mask) for mask in joint_crop(truth, prediction)]
    surfaces = [(code != 0) & (code != INSIDE) for code in codes]
    areas = element_areas(spacing)
    return SurfaceDistances(
        _distances(surfaces[0], surfaces[1], spacing),
        areas[codes[0][surfaces[0]]],
        _distances(surfaces[1], surfaces[0], spacing),
        areas[codes[1][surfaces[1]]],
    )


def _distances(
    start: np.ndarray, target: np.ndarray, spacing: tuple[float, float, float]
) -> np.ndarray:
    """From each point of `start` to the nearest of `target`, mm."""
    if not target.any():
        return np.full(np.count_nonzero(start), np.inf)
    return np.sqrt(squared_distances(~target, spacing)[start].astype(np.float64))


def hausdorff(distances: SurfaceDistances, percent: float = 100) -> float:
    """The greatest distance between two surfaces, or a percentile of it (Huttenlocher 1993), mm.

    Equals `compute_robust_hausdorff` of `surface-distance`: for each surface the distance within
    which `percent` of its area lies, then the greater of the two. HD is 100, HD95 is 95.
    0 where both masks are empty and `WORST_MM` where one is. Raises ValueError unless
    0 <= percent <= 100.
    """
    if not 0 <= percent <= 100:
        raise ValueError(f"percent {percent} is not between 0 and 100")
    if distances.both_empty():
        return 0.0
    if distances.one_empty():
        return WORST_MM
    return max(
        _percentile(distances.truth, distances.truth_areas, percent),
        _percentile(distances.prediction, distances.prediction_areas, percent),
    )


def _percentile(distances: np.ndarray, areas: np.ndarray, percent: float) -> float:
    if percent == 100:
        return float(distances.max())
    order = np.lexsort((areas, distances))
    share = np.cumsum(areas[order]) / np.sum(areas[order])
    index = min(int(np.searchsorted(share, percent / 100)), order.size - 1)
    return float(distances[order[index]])


def assd(distances: SurfaceDistances) -> float:
    """The average symmetric surface distance, mm (Heimann et al. 2009).

    The mean over all elements of both surfaces, weighted with their areas: the two results of
    `compute_average_surface_distance` of `surface-distance`, weighted with the two surfaces'
    areas. 0 where both masks are empty and `WORST_MM` where one is.
    """
    if distances.both_empty():
        return 0.0
    if distances.one_empty():
        return WORST_MM
    areas = np.concatenate([distances.truth_areas, distances.prediction_areas])
    lengths = np.concatenate([distances.truth, distances.prediction])
    return float(np.dot(lengths, areas) / areas.sum())


def surface_dice(distances: SurfaceDistances, tolerance: float = 1.0) -> float:
    """The normalised surface Dice (NSD): the share of both surfaces within `tolerance` (mm).

    Equals `compute_surface_dice_at_tolerance` of `surface-distance` (Nikolov et al. 2021). 1 where
    both masks are empty and 0 where one is. Raises ValueError for a tolerance below 0.
    """
    if not tolerance >= 0:
        raise ValueError(f"tolerance {tolerance} is not 0 mm or more")
    if distances.both_empty():
        return 1.0
    limit = tolerance * (1 + ROUNDING)
    within = (
        distances.truth_areas[distances.truth <= limit].sum()
        + distances.prediction_areas[distances.prediction <= limit].sum()
    )
    return float(within / (distances.truth_areas.sum() + distances.prediction_areas.sum()))
