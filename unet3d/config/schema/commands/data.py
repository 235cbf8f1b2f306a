"""Settings of the commands on a data set."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Optional

from unet3d.config.allowed import AT_LEAST_1, one_of
from unet3d.config.setting import setting


@dataclass
class PreprocessConfig:
    """`unet3d preprocess`: what it takes beside the settings of a training."""

    verify: bool = setting(
        False, "instead, read the complete store again and compare it with its checksums"
    )
    nodes: int = setting(
        1,
        "parallel=experiment or data: nodes of the cluster to wait for; all are used",
        AT_LEAST_1,
    )


@dataclass
class PlanConfig:
    """`unet3d plan`: what it takes beside the settings of a training."""

    output: Optional[str] = setting(
        None, "a .yaml file for the recipe, for data.plans; null: only print it", path=True
    )
    budget: str = setting(
        "memory",
        "memory: the patch and batch whose step fits as this network takes it; nnunet: those that "
        "nnU-Net plans for a GPU of data.patch_memory GB (else 8), whatever a step then takes here",
        one_of("memory", "nnunet"),
    )
