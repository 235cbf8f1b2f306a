"""Each setting, defined once: a file for each group of conf/, one for a run; commands/ has theirs.

A field has a type, a default, a description, a rule for its values, and its effect on the result.
From these come the checks before any work, what `resume=` may change, which trials of a sweep are
the same, `--help`, and docs/settings.md.
"""

from unet3d.config.schema.augment import AugmentConfig
from unet3d.config.schema.choices import SCHEMAS, register_schema, schemas_of
from unet3d.config.schema.commands import (
    COMMANDS,
    CapsuleConfig,
    CleanConfig,
    EnsembleConfig,
    EvaluateConfig,
    ExportConfig,
    PlanConfig,
    PredictConfig,
    PreprocessConfig,
    RecordConfig,
    ReportConfig,
    RunsConfig,
    ScalingConfig,
    SimulateConfig,
    TuneConfig,
    UiConfig,
    ViewConfig,
)
from unet3d.config.schema.commands.shared import PostprocessConfig
from unet3d.config.schema.commands.studies import StudyConfig
from unet3d.config.schema.data import (
    AUTO,
    NORMALIZE,
    DataConfig,
    PhantomConfig,
    SourceConfig,
    SplitConfig,
)
from unet3d.config.schema.loss import LossConfig
from unet3d.config.schema.model import ModelConfig
from unet3d.config.schema.optimizer import (
    AdamConfig,
    AdamWConfig,
    OptimizerConfig,
    OwnOptimizerConfig,
    SGDConfig,
)
from unet3d.config.schema.parallel import ParallelConfig
from unet3d.config.schema.run import Config, SweepRunConfig, TrainConfig, ValidationConfig
from unet3d.config.schema.schedule import ScheduleConfig
from unet3d.config.schema.sweep import SweepConfig
from unet3d.config.schema.tracking import TrackingConfig
from unet3d.config.walk import as_dict, flatten

__all__ = [
    "AUTO",
    "COMMANDS",
    "NORMALIZE",
    "SCHEMAS",
    "AdamConfig",
    "AdamWConfig",
    "AugmentConfig",
    "CapsuleConfig",
    "CleanConfig",
    "Config",
    "DataConfig",
    "EnsembleConfig",
    "EvaluateConfig",
    "ExportConfig",
    "LossConfig",
    "ModelConfig",
    "OptimizerConfig",
    "OwnOptimizerConfig",
    "ParallelConfig",
    "PhantomConfig",
    "PlanConfig",
    "PostprocessConfig",
    "PredictConfig",
    "PreprocessConfig",
    "RecordConfig",
    "ReportConfig",
    "RunsConfig",
    "SGDConfig",
    "ScalingConfig",
    "ScheduleConfig",
    "SimulateConfig",
    "SourceConfig",
    "SplitConfig",
    "StudyConfig",
    "SweepConfig",
    "SweepRunConfig",
    "TrackingConfig",
    "TrainConfig",
    "TuneConfig",
    "UiConfig",
    "ValidationConfig",
    "ViewConfig",
    "as_dict",
    "flatten",
    "register_schema",
    "schemas_of",
]
