"""Settings of the record of a run."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Optional

from omegaconf import MISSING

from unet3d.config.allowed import PORT, POSITIVE, RUN_ID
from unet3d.config.setting import NO_EFFECT, setting


@dataclass
class TrackingConfig:
    """Where runs are recorded."""

    name: str = setting(MISSING, "the kind, set by tracking=<choice>", effect=NO_EFFECT)
    uri: str = setting(
        "sqlite:///${output_dir}/mlflow.db",
        "address of the MLflow store; MLFLOW_TRACKING_URI, if set, replaces it",
        effect=NO_EFFECT,
        path=True,
    )
    artifacts: str = setting(
        "${output_dir}/mlartifacts",
        "artifacts of experiments made in a database",
        effect=NO_EFFECT,
        path=True,
    )
    experiment: str = setting(
        "unet3d", "experiment that the run belongs to, a name without / and \\", effect=NO_EFFECT
    )
    run_name: Optional[str] = setting(
        None, "name of the run; null: one that MLflow makes up", effect=NO_EFFECT
    )
    parent: Optional[str] = setting(
        None, "id of the run that this one is shown under", RUN_ID, NO_EFFECT
    )
    tags: dict[str, str] = setting(
        {}, "tags of the run beside its own, {name: value}", effect=NO_EFFECT
    )
    host: Optional[str] = setting(
        None,
        "tracking=server: name or address to listen on; null: this machine in its cluster",
        effect=NO_EFFECT,
    )
    port: int = setting(5000, "tracking=server: port to listen on", PORT, NO_EFFECT)
    system_metrics: bool = setting(
        True, "record the load of CPUs, GPUs and memory", effect=NO_EFFECT
    )
    system_interval: float = setting(
        5.0, "seconds between samples of the load", POSITIVE, NO_EFFECT
    )
    tensorboard: bool = setting(
        False,
        "write the metrics of each epoch to runs/<run id>/tensorboard, too",
        effect=NO_EFFECT,
        newer=True,
    )
