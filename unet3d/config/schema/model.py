"""Settings of the network."""

from __future__ import annotations

from dataclasses import dataclass

from omegaconf import MISSING

from unet3d.config.allowed import AT_LEAST_1, BELOW_1, one_of, within
from unet3d.config.setting import setting


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

    @property
    def stride(self) -> int:
        """Voxels of the input that one voxel of the deepest level covers along an axis."""
        return 2**self.depth
