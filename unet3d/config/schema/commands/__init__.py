"""Settings of the `unet3d` commands that take none of a training's, or some beside them."""

from __future__ import annotations

from unet3d.config.schema.commands.data import PlanConfig, PreprocessConfig
from unet3d.config.schema.commands.networks import (
    EnsembleConfig,
    EvaluateConfig,
    ExportConfig,
    PredictConfig,
    TuneConfig,
    ViewConfig,
)
from unet3d.config.schema.commands.records import (
    CapsuleConfig,
    CleanConfig,
    RecordConfig,
    ReportConfig,
    RunsConfig,
    UiConfig,
)
from unet3d.config.schema.commands.studies import ScalingConfig, SimulateConfig

# A command without its own schema takes the settings of a training alone.
COMMANDS: dict[str, type] = {
    "preprocess": PreprocessConfig,
    "plan": PlanConfig,
    "predict": PredictConfig,
    "evaluate": EvaluateConfig,
    "tune": TuneConfig,
    "ensemble": EnsembleConfig,
    "export": ExportConfig,
    "view": ViewConfig,
    "report": ReportConfig,
    "record": RecordConfig,
    "capsule": CapsuleConfig,
    "runs": RunsConfig,
    "clean": CleanConfig,
    "ui": UiConfig,
    "scaling": ScalingConfig,
    "simulate": SimulateConfig,
}
