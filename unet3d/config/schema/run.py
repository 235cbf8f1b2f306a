"""All settings of a run, and of a sweep of runs."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Optional

from unet3d.config.allowed import (
    AT_LEAST_0,
    AT_LEAST_1,
    BELOW_1,
    NAME,
    POSITIVE,
    PRECISION,
    RUN_ID,
    SEED,
    one_of,
)
from unet3d.config.schema.augment import AugmentConfig
from unet3d.config.schema.data import DataConfig
from unet3d.config.schema.loss import LossConfig
from unet3d.config.schema.model import ModelConfig
from unet3d.config.schema.optimizer import OptimizerConfig
from unet3d.config.schema.parallel import ParallelConfig
from unet3d.config.schema.schedule import ScheduleConfig
from unet3d.config.schema.sweep import SweepConfig
from unet3d.config.schema.tracking import TrackingConfig
from unet3d.config.setting import EXTENDS, NO_EFFECT, group, setting


@dataclass
class ValidationConfig:
    """Sliding-window validation over whole volumes."""

    overlap: float = setting(0.5, "share of a window that the next one overlaps", BELOW_1, EXTENDS)
    batch_size: int = setting(
        1,
        "windows in a replica's forward pass; on a GPU at least the patches it trains on at once",
        AT_LEAST_1,
        EXTENDS,
    )
    cases: Optional[int] = setting(None, "validation cases to use; null: all", AT_LEAST_1, EXTENDS)
    # Any: a mapping or null; config/rules.py checks it.
    metrics: Any = setting(
        None,
        "{name: function} of metrics of your own, recorded as val/<name>, as in {volume: "
        "mylab.metrics.volume}; with arguments {name: {_target_: function, argument: value}}",
        effect=EXTENDS,
        newer=True,
    )


@dataclass
class Config:
    """A run."""

    data: DataConfig = group()
    model: ModelConfig = group()
    loss: LossConfig = group()
    optimizer: OptimizerConfig = group()
    schedule: ScheduleConfig = group()
    augment: AugmentConfig = group()
    parallel: ParallelConfig = group()
    tracking: TrackingConfig = group()
    validation: ValidationConfig = group(ValidationConfig)
    lr: float = setting(1e-3, "learning rate at the schedule's peak", POSITIVE)
    epochs: int = setting(20, "length of the training", AT_LEAST_1, EXTENDS)
    batch_size: int = setting(2, "patches in an update, over all replicas", AT_LEAST_1)
    # No effect of its own: it is in batch_size.
    batch_per_replica: Optional[int] = setting(
        None,
        "patches of a replica in an update; batch_size is then this times the replicas that the "
        "run begins with, with parallel=auto one, and stays when it is resumed on others; null: "
        "batch_size as it is",
        AT_LEAST_1,
        NO_EFFECT,
        newer=True,
    )
    accumulate: int = setting(
        1, "parts in which a batch is computed, to save memory; it divides batch_size", AT_LEAST_1
    )
    steps_per_epoch: Optional[int] = setting(
        None,
        "updates in an epoch; null: cases * data.patches_per_case / batch_size",
        AT_LEAST_1,
    )
    seed: int = setting(0, "seed of weights, patches and augmentation", SEED)
    precision: str = setting("float32", "type of the computation; weights stay float32", PRECISION)
    nodes: int = setting(
        1,
        "parallel=data: number of workers, one per node; "
        "changes the result a little with model.norm=batch, or with parallel.lr_scaling",
        AT_LEAST_1,
        NO_EFFECT,
    )
    resume: Optional[str] = setting(
        None,
        "id of a run to continue; auto: the one that this command has begun, else begin it",
        RUN_ID,
        NO_EFFECT,
    )
    job: Optional[str] = setting(
        None,
        "resume=auto: what tells equal commands apart; null: the id of the Slurm job, if any",
        NAME,
        NO_EFFECT,
    )
    val_every: int = setting(
        1, "epochs between validations; the last epoch is always validated", AT_LEAST_1, EXTENDS
    )
    patience: Optional[int] = setting(
        None,
        "validations without a better val/dice before the run stops early; null: never",
        AT_LEAST_1,
        EXTENDS,
    )
    stop_after: Optional[int] = setting(
        None,
        "epochs after which this command ends, with the schedule of all `epochs`; resume goes on; "
        "null: all",
        AT_LEAST_1,
        EXTENDS,
        newer=True,
    )
    output_dir: str = setting(
        "outputs", "folder of runs, stores and sweeps", effect=NO_EFFECT, path=True
    )
    threads: Optional[int] = setting(
        None, "CPU threads of TensorFlow; null: all", AT_LEAST_1, NO_EFFECT
    )
    repeat_batch: bool = setting(
        False,
        "train every step on the first batch, to see whether a network can learn it at all",
        newer=True,
    )
    profile_steps: int = setting(
        0, "steps to trace for TensorBoard, in the run's folder", AT_LEAST_0, NO_EFFECT
    )
    xla: str = setting(
        "auto",
        "compile the step with XLA: on, off, or auto: for 2000 steps or more on a GPU, where it "
        "can; changes rounding only",
        one_of("auto", "on", "off"),
        NO_EFFECT,
        newer=True,
    )
    deterministic: bool = setting(
        False,
        "the same result bit by bit on the same device, slower: TensorFlow's deterministic "
        "operations, no TF32, no xla=auto",
        newer=True,
    )
    init: Optional[str] = setting(
        None,
        "id of a run, or file of weights, to begin with: layers of the same name and shape take "
        "them, the others begin anew; null: all begin anew",
        newer=True,
        path=True,
    )
    continue_from: Optional[str] = setting(
        None,
        "id of a run to begin from where it has ended: weights, optimizer and epochs; other "
        "settings may differ, but for network, data and steps of an epoch; null: from the start",
        RUN_ID,
        newer=True,
    )

    @property
    def last_epoch(self) -> int:
        """At which the training ends, unless it is stopped early."""
        return min(self.epochs, self.stop_after or self.epochs)


@dataclass
class TrainConfig(Config):
    """What train.py is composed to. sweep: what a preset sets for sweep.py; train.py drops it."""

    sweep: Optional[SweepConfig] = None


@dataclass
class SweepRunConfig(Config):
    """The settings of each trial, and those of the sweep."""

    sweep: SweepConfig = group(SweepConfig)
    dry_run: bool = setting(
        False,
        "print the trials, with resources, memory, time and price of each, and end",
        effect=NO_EFFECT,
    )
