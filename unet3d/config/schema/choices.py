"""The schema of each choice in conf/."""

from __future__ import annotations

from unet3d.config.schema.augment import AugmentConfig
from unet3d.config.schema.data import DataConfig
from unet3d.config.schema.loss import LossConfig
from unet3d.config.schema.model import ModelConfig
from unet3d.config.schema.optimizer import (
    AdamConfig,
    AdamWConfig,
    OwnOptimizerConfig,
    SGDConfig,
)
from unet3d.config.schema.parallel import ParallelConfig
from unet3d.config.schema.run import SweepRunConfig, TrainConfig
from unet3d.config.schema.schedule import ScheduleConfig
from unet3d.config.schema.tracking import TrackingConfig

# By group, and by the name under which the defaults lists in conf/ refer to it.
SCHEMAS: dict[tuple[str, str], type] = {
    ("schema", "train"): TrainConfig,
    ("schema", "sweep"): SweepRunConfig,
    ("data", "base_data"): DataConfig,
    ("model", "base_model"): ModelConfig,
    ("loss", "base_loss"): LossConfig,
    ("optimizer", "base_adam"): AdamConfig,
    ("optimizer", "base_adamw"): AdamWConfig,
    ("optimizer", "base_sgd"): SGDConfig,
    ("optimizer", "base_own"): OwnOptimizerConfig,
    ("schedule", "base_schedule"): ScheduleConfig,
    ("augment", "base_augment"): AugmentConfig,
    ("parallel", "base_parallel"): ParallelConfig,
    ("tracking", "base_tracking"): TrackingConfig,
}

GRID_SWEEPER = "hydra_plugins.unet3d_sweep.grid_sweeper.GridSweeper"


def register_schema() -> None:
    """Put the schemas where Hydra's defaults lists find them (`base_data`, `base_model`...)."""
    from hydra._internal.core_plugins.basic_sweeper import BasicSweeperConf
    from hydra.core.config_store import ConfigStore
    from hydra.core.plugins import Plugins

    Plugins.instance()  # stores Hydra's own sweeper when it is first asked for
    store = ConfigStore.instance()
    for (group, name), schema in SCHEMAS.items():
        store.store(group=group, name=name, node=schema)
    # In the place of Hydra's own sweeper, which would take minutes for 1,000 trials.
    store.store(group="hydra/sweeper", name="basic", node=BasicSweeperConf(_target_=GRID_SWEEPER))


def schemas_of(group: str) -> list[type]:
    """The schemas among which the choices of a group have theirs."""
    return [schema for (of, _), schema in SCHEMAS.items() if of == group]
