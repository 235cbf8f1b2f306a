"""Settings of the network."""

from __future__ import annotations

from dataclasses import dataclass
from math import prod
from typing import Any, Optional

from omegaconf import MISSING

from unet3d.config.allowed import AT_LEAST_1, BELOW_1, BLOCKS, PATTERN, TARGET, one_of, within
from unet3d.config.setting import NO_EFFECT, setting

Sizes = tuple[int, int, int]  # along x, y and z


@dataclass
class ModelConfig:
    """The network that is trained."""

    name: str = setting(MISSING, "the network, set by model=<choice>")
    filters: int = setting(8, "filters of the first level; each level doubles them", AT_LEAST_1)
    max_filters: int = setting(320, "most filters of a level", AT_LEAST_1)
    depth: int = setting(3, "number of poolings", within(1, 8))
    norm: str = setting(
        "batch",
        "normalisation; batch: over each replica's part of the batch, so that the number of "
        "replicas changes the result a little; sync_batch: over all replicas",
        one_of("batch", "sync_batch", "group", "instance", "none"),
    )
    groups: int = setting(8, "norm=group: number of groups", AT_LEAST_1)
    activation: str = setting("relu", "any Keras activation, or leaky_relu")
    dropout: float = setting(0.0, "share of features dropped in training", BELOW_1)
    deep_supervision: bool = setting(False, "a loss at each level of the decoder")
    topology: str = setting(
        "isotropic",
        "isotropic: every pooling halves all axes, every kernel is 3x3x3; auto: by spacing and "
        "patch as nnU-Net does, so that a coarse axis is pooled later, or not at all",
        one_of("isotropic", "auto"),
        newer=True,
    )
    # Any: lists of three sizes each; config/rules.py checks them.
    strides: Any = setting(
        None,
        "[x,y,z] of each pooling, as in [[2,2,1],[2,2,2]]; null: by model.topology",
        newer=True,
    )
    kernels: Any = setting(
        None,
        "[x,y,z] of the kernels of each level, one more than poolings, as in "
        "[[3,3,1],[3,3,3],[3,3,3]]; null: by model.topology",
        newer=True,
    )
    _target_: Optional[str] = setting(
        None,
        "model=own: function or class of your own that builds the network, as in mylab.nets.build; "
        "model.depth and model.strides say what it pools",
        TARGET,
        newer=True,
    )
    params: dict[str, Any] = setting(
        {}, "model=own: arguments of your own for it, as in model.params.width=32", newer=True
    )
    expansion: int = setting(
        2, "mednext: by how much its blocks widen their channels", AT_LEAST_1, newer=True
    )
    blocks: list[int] = setting(
        [1, 3, 4, 6],
        "resenc: residual blocks of each level; the last number is that of all below",
        BLOCKS,
        newer=True,
    )
    downsampling: str = setting(
        "pool",
        "unet3d: pool: by maxima; stride: by the first convolution of a level, as in nnU-Net",
        one_of("pool", "stride"),
        newer=True,
    )
    recompute: bool = setting(
        False,
        "keep only what lies between blocks, and compute a block's features again in the backward "
        "pass: about half of the memory, a third more time, the same gradients; not with batch "
        "norm or dropout",
        effect=NO_EFFECT,
        newer=True,
    )
    freeze: Optional[str] = setting(
        None,
        "regular expression of the names of layers that are not trained, as in enc.*; null: none",
        PATTERN,
        newer=True,
    )

    @property
    def stride(self) -> Sizes:
        """Voxels of the input that one voxel of the deepest level covers along each axis."""
        return self.level_stride(self.depth)

    def level_stride(self, level: int) -> Sizes:
        """Voxels of the input that one voxel of `level` covers; level 0 is the full resolution."""
        x, y, z = (prod(self.pooling(n)[axis] for n in range(1, level + 1)) for axis in range(3))
        return x, y, z

    def pooling(self, level: int) -> Sizes:
        """By how much `level`, from 1, is coarser than the level above."""
        x, y, z = self.strides[level - 1] if self.strides else (2, 2, 2)
        return x, y, z

    def blocks_at(self, level: int) -> int:
        """Residual blocks at `level` of the encoder of model=resenc."""
        return self.blocks[min(level, len(self.blocks) - 1)]

    def kernel(self, level: int) -> Sizes:
        """The size of the convolutions of `level`."""
        x, y, z = self.kernels[level] if self.kernels else (3, 3, 3)
        return x, y, z
