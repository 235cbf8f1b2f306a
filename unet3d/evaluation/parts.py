"""Post-processing chosen by mean Dice: the largest connected part, and a least volume.

As in nnU-Net (Isensee et al. 2021), which tries the largest part alone: on predictions of cases
that were not trained on, and kept only where it helps. What remains of a mask follows from the
sizes of its parts, so that each is labelled once, whatever is tried.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import product

import numpy as np

from unet3d.config.schema import PostprocessConfig
from unet3d.masks import connected_parts, largest_part
from unet3d.metrics import dice_from_counts

MOST_VOLUMES = 40  # that are tried


@dataclass(frozen=True)
class Parts:
    """The connected parts of a predicted mask, the largest first.

    voxels: of each part; counted: those of which the truth is known; hits: those in the truth.
    truth: voxels of the region; voxel: its volume in mm3.
    """

    voxels: np.ndarray
    counted: np.ndarray
    hits: np.ndarray
    truth: int
    voxel: float

    def dice(self, steps: PostprocessConfig) -> float:
        """Dice of what `steps` leaves, in their order: small parts go, then all but the largest."""
        left = self.voxels >= math.ceil(steps.min_volume / self.voxel)
        if steps.largest:
            left[1:] = False
        counts = (self.hits[left].sum(), self.truth, self.counted[left].sum())
        return float(dice_from_counts(counts))


def measure_parts(
    mask: np.ndarray, truth: np.ndarray, known: np.ndarray | None, voxel: float
) -> Parts:
    """The parts of a mask, connected over faces, edges and corners.

    mask, truth, known: boolean (x, y, z); known: None where all voxels are. voxel: mm3.
    """
    parts, number = connected_parts(mask)
    voxels = np.bincount(parts.ravel(), minlength=number + 1)[1:]
    counted = voxels
    if known is not None:
        counted = np.bincount(parts[known], minlength=number + 1)[1:]
    hits = np.bincount(parts[truth], minlength=number + 1)[1:]
    order = np.argsort(-voxels, kind="stable")
    if number > 1 and voxels[order[0]] == voxels[order[1]]:  # which of them is kept
        first = int(parts[largest_part(mask)][0]) - 1
        order = np.concatenate([[first], order[order != first]])
    return Parts(voxels[order], counted[order], hits[order], int(truth.sum()), voxel)


def best_steps(cases: Sequence[Parts]) -> tuple[PostprocessConfig, float, float]:
    """What raises the mean Dice most, its mean Dice, and that of the masks as they are.

    Nothing is done where that is as good; of equally good steps the first of `candidates` counts.
    """
    before = _mean_dice(cases, PostprocessConfig())
    best, reached = PostprocessConfig(), before
    for steps in candidates(cases):
        dice = _mean_dice(cases, steps)
        if dice > reached + 1e-9:
            best, reached = steps, dice
    return best, reached, before


def candidates(cases: Sequence[Parts]) -> Iterator[PostprocessConfig]:
    """The largest part or all, each with volumes between those of the parts that were found.

    The least volumes first, as the more is left the less can go wrong.
    """
    found = np.unique(np.concatenate([case.voxels * case.voxel for case in cases]))
    between = np.sqrt(found[1:] * found[:-1])
    if len(between) > MOST_VOLUMES:
        places = np.linspace(0, len(between) - 1, MOST_VOLUMES).round().astype(int)
        between = between[places]
    volumes = [0.0, *(float(f"{volume:.3g}") for volume in between)]
    for volume, largest in product(volumes, (False, True)):
        yield PostprocessConfig(min_volume=volume, largest=largest)


def _mean_dice(cases: Sequence[Parts], steps: PostprocessConfig) -> float:
    return float(np.mean([case.dice(steps) for case in cases]))
