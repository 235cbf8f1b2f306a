"""What to train with, from a data set's fingerprint: patch, batch size, spacing.

After nnU-Net's planner (Isensee et al. 2021), limited by the memory of a device as in nnU-Net's
2024 presets. Pure functions of numbers: neither TensorFlow nor files.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from math import prod

import numpy as np

LARGEST = 256**3  # voxels of the patch that planning starts from
ANISOTROPIC = 3.0  # ratio of spacings, and of sizes, from which an axis counts as coarse
COARSE_PERCENTILE = 10  # of a coarse axis' spacings; the median would lose thin slices
SHARE_OF_DATA = 0.05  # of all voxels: the most that a batch may hold


@dataclass(frozen=True)
class Spacing:
    """A spacing to resample to, in mm.

    coarse: the axis that nnU-Net's rule for coarse axes changed, if any; uniform: whether every
    case already has this spacing.
    """

    mm: tuple[float, ...]
    coarse: int | None
    uniform: bool


def median_size(shapes: Iterable[Sequence[int]]) -> tuple[int, ...]:
    """The median over shapes (cases, 3) of each axis, in whole voxels."""
    return tuple(max(1, round(size)) for size in np.median(list(shapes), axis=0).tolist())


def round_up(size: float, stride: int) -> int:
    """The smallest multiple of the stride that is not below `size`."""
    return int(-(-size // stride)) * stride


def choose_patch(
    shape: Sequence[int],
    spacing: Sequence[float],
    stride: Sequence[int],
    budget: float,
    memory: Callable[[Sequence[int]], float],
) -> list[int] | None:
    """The largest patch whose training step fits, in voxels; None where not even one stride does.

    shape, spacing: the median volume, in voxels and mm. memory: bytes of a step on a patch;
    budget: bytes available. Planning starts from a cube in mm, no larger than the median volume
    rounded up to the stride, and shortens the axis that is longest relative to that volume (of
    equals, the one with more voxels) until the step fits. The volume is rounded so that the few
    slices of a coarse axis are not cut first.
    """
    whole = [round_up(size, step) for size, step in zip(shape, stride, strict=True)]
    side = (LARGEST * prod(spacing)) ** (1 / 3)  # mm
    wanted = [min(size, round(side / mm)) for size, mm in zip(shape, spacing, strict=True)]
    patch = [round_up(size, step) for size, step in zip(wanted, stride, strict=True)]
    while memory(patch) > budget:
        axes = [axis for axis in range(3) if patch[axis] > stride[axis]]
        if not axes:
            return None
        longest = max(axes, key=lambda axis: (patch[axis] / whole[axis], patch[axis]))
        patch[longest] -= stride[longest]
    return patch


def choose_batch(
    least: int, step: int, most: int, budget: float, memory: Callable[[int], float]
) -> int:
    """The largest batch that fits: a multiple of `step` from `least` to `most`, or `least`.

    memory: bytes of a training step on a batch, growing with the batch; budget: bytes available.
    """
    sizes = range(step, most + 1, step)
    fitting = bisect_right(sizes, budget, key=memory)
    return max(least, sizes[fitting - 1] if fitting else least)


def largest_batch(shapes: Sequence[Sequence[int]], patch: Sequence[int]) -> int:
    """The number of patches whose voxels are SHARE_OF_DATA of those of all volumes."""
    return int(SHARE_OF_DATA * sum(prod(shape) for shape in shapes) / prod(patch))


def choose_spacing(spacings: Sequence[Sequence[float]], shapes: Sequence[Sequence[int]]) -> Spacing:
    """The median spacing, or for a coarse axis its tenth percentile.

    spacings, shapes: (cases, 3), mm and voxels.

    An axis is coarse, as in nnU-Net, where its median spacing is more than three times that of
    the others and its median size less than a third of theirs.
    """
    table, sizes = np.asarray(spacings, dtype=float), np.median(np.asarray(shapes), axis=0)
    target = np.median(table, axis=0)
    axis = int(np.argmax(target))
    others = [other for other in range(3) if other != axis]
    finest = max(target[others])
    coarse = bool(
        target[axis] > ANISOTROPIC * finest and sizes[axis] * ANISOTROPIC < min(sizes[others])
    )
    if coarse:
        target[axis] = max(np.percentile(table[:, axis], COARSE_PERCENTILE), finest)
    mm = tuple(round(float(length), 4) for length in target)
    return Spacing(mm, axis if coarse else None, bool(np.allclose(table, mm, atol=1e-3)))
