"""Settings of the commands that measure and forecast."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Optional

from unet3d.config.allowed import (
    AT_LEAST_0,
    AT_LEAST_1,
    AT_LEAST_2,
    FOLDER_NAME,
    SHARE,
    VOLUME_SHAPE,
)
from unet3d.config.setting import group, setting


@dataclass
class SimulateConfig:
    """`unet3d simulate`: what it takes beside the settings of a training."""

    gpus: list[int] = setting([1, 2, 4, 8, 16, 32], "numbers of GPUs to simulate, as 1,2,4")
    gpus_per_node: int = setting(4, "GPUs of a node", AT_LEAST_1)
    timing: Optional[str] = setting(
        None, "file of a machine's constants, or paper, v100; null: fitted to runs of output_dir"
    )
    runs: Optional[str] = setting(
        None, "runs to fit to: ids as a,b,c, or the name of a sweep or study; null: the newest"
    )
    price: Optional[float] = setting(None, "of a GPU-hour", AT_LEAST_0)
    losses: float = setting(0.0, "losses of a node, an hour", AT_LEAST_0)
    weak: Optional[bool] = setting(
        None,
        "batch_size is that of a replica, as in the paper, not that of all replicas; null: where "
        "the trials set batch_per_replica",
    )
    warm: bool = setting(True, "whether a process trains one trial after another")
    seed: int = setting(0, "of the trials' spread and of the losses", AT_LEAST_0)
    volume: list[int] = setting(
        [240, 240, 152], "voxels of a volume, where the data are not here", VOLUME_SHAPE
    )
    cases: int = setting(484, "number of cases, where the data are not here", AT_LEAST_2)
    sequences: int = setting(4, "sequences of a case, where the data are not here", AT_LEAST_1)


@dataclass
class StudyConfig:
    """A study's trials, repeats and name."""

    trials: Optional[int] = setting(
        None,
        "trials that every mode trains, each of its own seed; null: 4, or those of a grid",
        AT_LEAST_2,
    )
    repeats: int = setting(1, "times that each part is measured", AT_LEAST_1)
    fraction: float = setting(1.0, "share of the epochs, rounded up", SHARE)
    weak: Optional[bool] = setting(
        None,
        "batch_size is that of a replica, as in the paper, not that of all replicas; null: only "
        "where the devices cannot share it",
    )
    name: str = setting("study", "of the study's folder; the same resumes it", FOLDER_NAME)
    runs: Optional[str] = setting(
        None,
        "also scaling.from: runs, as a,b,c, or a sweep or study by whose times each part is "
        "forecast; null: no forecast",
    )


@dataclass
class ScalingConfig:
    """`unet3d scaling`: what it takes beside the settings of a training."""

    devices: list[int] = setting(
        [1, 2], "numbers of GPUs, or of CPUs or a cluster's nodes where there are none, as 1,2"
    )
    modes: list[str] = setting(
        ["experiment", "data"], "of experiment, data and hybrid (two devices a trial)"
    )
    scaling: StudyConfig = group(StudyConfig)
