"""Which axes a network pools at each level, and where its kernels are flat: model.topology=auto.

After nnU-Net's rule (Isensee et al. 2021, supplementary note 4): axes are pooled together once
their spacings are within a factor of two, and kernels become 3 along an axis from then on.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

from unet3d.config.schema import AUTO, Config, ModelConfig
from unet3d.errors import ConfigError
from unet3d.planning.patch import stored_volume
from unet3d.planning.rules import choose_patch
from unet3d.preprocessing.store import Store

SMALLEST = 4  # voxels of a feature map along an axis, below which it is not pooled
FLAT, FULL = 1, 3  # sizes of a kernel


@dataclass(frozen=True)
class Topology:
    """strides: of each pooling; kernels: of each level; both along x, y and z."""

    strides: tuple[tuple[int, ...], ...]
    kernels: tuple[tuple[int, ...], ...]

    def settings(self) -> dict[str, Any]:
        """The settings of a model that has it."""
        return {
            "depth": len(self.strides),
            "strides": [list(level) for level in self.strides],
            "kernels": [list(level) for level in self.kernels],
        }


def choose_topology(
    spacing: Sequence[float], patch: Sequence[float], most: int | None = None
) -> Topology:
    """The topology for patches of `patch` voxels of `spacing` mm, with at most `most` poolings."""
    mm, size, kernel = list(spacing), list(patch), [FLAT] * 3
    strides: list[tuple[int, ...]] = []
    kernels: list[tuple[int, ...]] = []
    while most is None or len(strides) < most:
        large = [axis for axis in range(3) if size[axis] >= 2 * SMALLEST]
        if not large:
            break
        finest = min(mm[axis] for axis in large)
        pooled = [axis for axis in large if mm[axis] < 2 * finest]
        if len(pooled) == 1 and size[pooled[0]] < 3 * SMALLEST:
            break
        kernel = [_kernel(kernel[axis], mm, axis) for axis in range(3)]
        kernels.append(tuple(kernel))
        strides.append(tuple(2 if axis in pooled else 1 for axis in range(3)))
        for axis in pooled:
            mm[axis], size[axis] = 2 * mm[axis], -(-size[axis] // 2)
    # nnU-Net's deepest level has full kernels; where depth ends it earlier, the rule goes on.
    last = [FULL] * 3 if most is None or len(strides) < most else None
    kernels.append(tuple(last or (_kernel(kernel[axis], mm, axis) for axis in range(3))))
    return Topology(tuple(strides), tuple(kernels))


def _kernel(before: int, mm: Sequence[float], axis: int) -> int:
    return FULL if before == FULL or mm[axis] < 2 * min(mm) else FLAT


def with_topology(
    model: ModelConfig, spacing: Sequence[float], patch: Sequence[int]
) -> ModelConfig:
    """`model` with the strides, kernels and depth of `choose_topology`, where it asks for them.

    model.depth is the most poolings. An isotropic network keeps its short form.
    """
    if model.topology != "auto" or model.strides is not None:
        return model
    found = choose_topology(spacing, patch, model.depth).settings()
    strides, kernels = found["strides"], found["kernels"]
    if not strides:
        raise ConfigError(
            f"model.topology: auto finds no axis to pool in a patch of {list(patch)} voxels; type "
            "a larger data.patch"
        )
    if strides == [[2] * 3] * model.depth and kernels == [[FULL] * 3] * (model.depth + 1):
        return model
    return replace(model, **{**found, "kernels": model.kernels or kernels})


def resolve_topology(config: Config, store: Store, train: Sequence[str]) -> Config:
    """`config` with the network's topology for its patch, or for the largest that auto may choose.

    Raises ConfigError for a patch of which nothing can be pooled.
    """
    if config.model.topology != "auto" or config.model.strides is not None:
        return config
    volume, spacing = stored_volume(store, train)
    patch = config.data.patch
    if patch == AUTO:
        patch = choose_patch(volume, spacing, (1, 1, 1), 0.0, lambda _: 0.0)
    return replace(config, model=with_topology(config.model, spacing, patch or volume))
