"""What to train with, from a data set's fingerprint: patch and batch size.

After nnU-Net's planner (Isensee et al. 2021), limited by the memory of a device as in nnU-Net's
2024 presets. Pure functions of numbers: neither TensorFlow nor files.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Callable, Iterable, Sequence
from math import prod

import numpy as np

LARGEST = 256**3  # voxels of the patch that planning starts from
SHARE_OF_DATA = 0.05  # of all voxels: the most that a batch may hold


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
