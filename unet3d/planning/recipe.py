"""Patch, batch size and topology together, as nnU-Net plans them: `unet3d plan`.

After nnU-Net v2's ExperimentPlanner: memory counts as the values of all convolutions' outputs.
Pure functions of numbers.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from math import prod

from unet3d.planning.rules import LARGEST, SHARE_OF_DATA, round_up
from unet3d.planning.topology import Topology, choose_topology

LEAST_BATCH = 2
NNUNET_VALUES = 560e6  # of a patch in a batch of 2: what nnU-Net plans for a GPU of 8 GB
RESENC_VALUES = {8: 680e6, 24: 2100e6}  # the same of its presets M and L, by their GB
Count = Callable[[Sequence[int], Topology], float]  # values of the feature maps of a patch


@dataclass(frozen=True)
class Recipe:
    """patch: voxels along x, y and z."""

    patch: tuple[int, ...]
    batch_size: int
    topology: Topology


def nnunet_values(memory: float, residual: bool) -> float:
    """Values that nnU-Net plans a patch for, in a batch of 2 on a GPU of `memory` GB.

    residual: by its presets of residual encoders, of which the larger one begins at 24 GB.
    """
    if not residual:
        return NNUNET_VALUES * memory / 8
    preset = max((size for size in RESENC_VALUES if size <= memory), default=min(RESENC_VALUES))
    return RESENC_VALUES[preset] * memory / preset


def plan_recipe(
    volume: Sequence[float],
    spacing: Sequence[float],
    cases: int,
    most: float,
    count: Count,
    share: float = SHARE_OF_DATA,
) -> Recipe | None:
    """The recipe for `cases` volumes of the median size `volume`, in voxels of `spacing` mm.

    most: values of feature maps that a patch may have in a batch of LEAST_BATCH. Planning starts
    as `choose_patch`, and the axis that is longest relative to the volume is shortened by the
    stride that the network then has. What memory is left makes the batch larger, up to
    `share` of all voxels. None where no patch fits.
    """
    side = (LARGEST * prod(spacing)) ** (1 / 3)  # mm
    wanted = [min(round(side / mm), size) for size, mm in zip(volume, spacing, strict=True)]
    patch, topology = _fitted(spacing, wanted)
    while (values := count(patch, topology)) > most:
        longest = max(range(3), key=lambda axis: patch[axis] / volume[axis])
        # By the stride of the smaller patch, or sizes between would be skipped.
        smaller = list(patch)
        smaller[longest] -= _stride(topology)[longest]
        if min(smaller) < 1:
            return None
        _, below = _fitted(spacing, smaller)
        smaller[longest] = patch[longest] - _stride(below)[longest]
        patch, topology = _fitted(spacing, smaller)
        if not topology.strides:
            return None
    largest = round(cases * prod(volume) * share / prod(patch))
    batch = max(min(round(most / values * LEAST_BATCH), largest), LEAST_BATCH)
    return Recipe(patch, batch, topology)


def _fitted(spacing: Sequence[float], sizes: Sequence[float]) -> tuple[tuple[int, ...], Topology]:
    """The sizes rounded up to the stride of their topology, and that topology."""
    topology = choose_topology(spacing, sizes)
    pairs = zip(sizes, _stride(topology), strict=True)
    return tuple(round_up(size, step) for size, step in pairs), topology


def _stride(topology: Topology) -> tuple[int, ...]:
    return tuple(prod(level[axis] for level in topology.strides) for axis in range(3))


def feature_values(
    patch: Sequence[int],
    topology: Topology,
    filters: int,
    max_filters: int,
    outputs: int,
    blocks: Callable[[int], int] | None = None,
) -> float:
    """Values in the outputs of all convolutions of a U-Net with two of them a level.

    outputs: of the network. blocks: residual blocks at a level of the encoder, beside one
    convolution a level in the decoder. Deep supervision is left out, as in nnU-Net.
    """
    sizes, values = [tuple(patch)], 0
    for stride in topology.strides:
        sizes.append(tuple(size // step for size, step in zip(sizes[-1], stride, strict=True)))
    for level, size in enumerate(sizes):
        width = min(filters * 2**level, max_filters)
        # Blocks of two; beside the first of them the shortcut, or at full resolution the stem.
        encoder = 2 if blocks is None else 2 * blocks(level) + 1
        upwards = 3 if blocks is None else 2  # with the upsampling, above the deepest level
        convolutions = encoder + (0 if level == len(sizes) - 1 else upwards)
        values += convolutions * width * prod(size)
    return values + outputs * prod(sizes[0])
