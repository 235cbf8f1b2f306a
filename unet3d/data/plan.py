"""What to train with, from a data set's fingerprint: patch, batch size, spacing.

After nnU-Net's planner (Isensee et al. 2021), with the memory of a device as the measure, as in
nnU-Net's presets of 2024. Functions of numbers alone: neither TensorFlow nor files.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from math import prod

import numpy as np

LARGEST = 256**3  # voxels of the patch that planning begins with
ANISOTROPIC = 3.0  # ratio of spacings, and of sizes, from which an axis counts as coarse
COARSE_PERCENTILE = 10  # of a coarse axis' spacings, where the median would lose thin slices
SHARE_OF_DATA = 0.05  # of all voxels, which a batch does not exceed


@dataclass(frozen=True)
class Spacing:
    """A spacing to resample to, in mm. coarse: the axis that nnU-Net's rule is applied to, if any;
    uniform: whether every case has this spacing already."""

    mm: tuple[float, ...]
    coarse: int | None
    uniform: bool


def median_size(shapes: Iterable[Sequence[int]]) -> tuple[int, ...]:
    """The median over shapes (cases, 3) of each axis, in whole voxels."""
    return tuple(max(1, round(size)) for size in np.median(list(shapes), axis=0).tolist())


def round_up(size: int, stride: int) -> int:
    """The smallest multiple of the stride that is not below `size`."""
    return -(-size // stride) * stride


def choose_patch(
    shape: Sequence[int],
    spacing: Sequence[float],
    stride: int,
    budget: float,
    memory: Callable[[Sequence[int]], float],
) -> list[int] | None:
    """The largest patch whose training step fits, in voxels; None where not even a stride does.

    shape, spacing: the median volume, in voxels and mm. memory: bytes of a step on a patch;
    budget: bytes that there are. Planning begins with a cube in mm, no larger than the median
    volume rounded up to the stride, and shortens the axis that is longest beside that volume, the
    larger of equals, until the step fits. Unrounded, a few coarse slices would be cut first.
    """
    whole = [round_up(size, stride) for size in shape]
    side = (LARGEST * prod(spacing)) ** (1 / 3)  # mm
    wanted = [min(size, round(side / mm)) for size, mm in zip(shape, spacing, strict=True)]
    patch = [round_up(size, stride) for size in wanted]
    while memory(patch) > budget:
        axes = [axis for axis in range(3) if patch[axis] > stride]
        if not axes:
            return None
        longest = max(axes, key=lambda axis: (patch[axis] / whole[axis], patch[axis]))
        patch[longest] -= stride
    return patch


def choose_batch(
    least: int, step: int, most: int, budget: float, memory: Callable[[int], float]
) -> int:
    """The largest batch that fits: a multiple of `step` from `least` to `most`, or `least`.

    memory: bytes of a training step on a batch, which grows with the batch; budget: bytes.
    """
    sizes = range(step, most + 1, step)
    fitting = bisect_right(sizes, budget, key=memory)
    return max(least, sizes[fitting - 1] if fitting else least)


def largest_batch(shapes: Sequence[Sequence[int]], patch: Sequence[int]) -> int:
    """Patches that make up SHARE_OF_DATA of all voxels of the volumes of `shapes`."""
    return int(SHARE_OF_DATA * sum(prod(shape) for shape in shapes) / prod(patch))


def choose_spacing(spacings: Sequence[Sequence[float]], shapes: Sequence[Sequence[int]]) -> Spacing:
    """The median spacing, but for a coarse axis its tenth percentile; from (cases, 3) each.

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
