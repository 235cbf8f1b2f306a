"""Commands about a trained network and its segmentations."""

from __future__ import annotations

from typing import TYPE_CHECKING

from unet3d.cli.command import Command
from unet3d.config.compose import from_overrides
from unet3d.config.schema import (
    EnsembleConfig,
    EvaluateConfig,
    ExportConfig,
    PredictConfig,
    TuneConfig,
    ViewConfig,
)
from unet3d.errors import ConfigError

if TYPE_CHECKING:
    from unet3d.inference.ensemble import Ensemble


def _predict(overrides: list[str]) -> None:
    from unet3d.inference.predict import predict

    settings = from_overrides(PredictConfig, overrides)
    predict(settings, _ensemble(settings))


def _evaluate(overrides: list[str]) -> None:
    from unet3d.evaluation.evaluate import evaluate

    settings = from_overrides(EvaluateConfig, overrides)
    evaluate(settings, _ensemble(settings) if settings.run or settings.sweep else None)


def _tune(overrides: list[str]) -> None:
    from unet3d.evaluation.tune import tune

    settings = from_overrides(TuneConfig, overrides)
    tune(settings, _ensemble(settings))


def _ensemble(
    settings: PredictConfig | EvaluateConfig | TuneConfig | ExportConfig,
) -> Ensemble:
    """The runs that `run=` or `sweep=` names."""
    from unet3d.inference.ensemble import ensemble_of
    from unet3d.sweep.configurations import find_ensemble

    if (settings.run is None) == (settings.sweep is None):
        raise ConfigError("run: type either run=<id> or sweep=<name>")
    if settings.sweep is not None:
        return find_ensemble(settings.output_dir, settings.sweep, settings.configuration)
    if settings.configuration is not None:
        raise ConfigError("configuration: is of a sweep; type sweep=<name>, or leave it out")
    assert settings.run is not None
    return ensemble_of([run.strip() for run in settings.run.split(",")], settings.output_dir)


def _build_ensemble(overrides: list[str]) -> None:
    from unet3d.sweep.ensemble.build import build_ensemble

    build_ensemble(from_overrides(EnsembleConfig, overrides))


def _export(overrides: list[str]) -> None:
    from unet3d.inference.export.export import export

    settings = from_overrides(ExportConfig, overrides)
    export(settings, _ensemble(settings) if settings.sweep or not settings.run else None)


def _view(overrides: list[str]) -> None:
    from unet3d.viewer.view import view

    view(from_overrides(ViewConfig, overrides))


NETWORK = (
    Command(
        "predict",
        _predict,
        "segment scans with a trained network",
        (
            "unet3d predict run=<id> input=scan.nii.gz output=seg.nii.gz",
            "unet3d predict run=a,b,c input=imagesTs/ output=preds/ tta=true",
            "unet3d predict sweep=<name> input=imagesTs/ output=preds/ probabilities=true",
        ),
        schema=PredictConfig,
    ),
    Command(
        "evaluate",
        _evaluate,
        "measure a run on its test cases, the folds of a sweep, or a folder of segmentations",
        (
            "unet3d evaluate run=<id>",
            "unet3d evaluate sweep=<name>",
            "unet3d evaluate pred=preds/ truth=labelsTr/ regions=brats",
        ),
        schema=EvaluateConfig,
    ),
    Command(
        "tune",
        _tune,
        "choose thresholds and post-processing on cases that were not trained on",
        (
            "unet3d tune run=<id>",
            "unet3d tune run=<id> tta=true",
            "unet3d tune sweep=<name>",
        ),
        schema=TuneConfig,
    ),
    Command(
        "ensemble",
        _build_ensemble,
        "choose trials of a sweep that predict together, by their validation cases",
        (
            "unet3d ensemble sweep=<name>",
            "unet3d ensemble sweep=<name> members=5 rounds=10",
            "unet3d ensemble sweep=<name> cases=20 output_dir=<folder>",
        ),
        schema=EnsembleConfig,
    ),
    Command(
        "export",
        _export,
        "write a run's network for other programs: SavedModel, ONNX, MLflow",
        (
            "unet3d export run=<id> output=exported",
            "unet3d export sweep=<name> configuration=ensemble output=exported",
            "unet3d export run=<id> output=exported format=mlflow register=brain",
        ),
        schema=ExportConfig,
    ),
    Command(
        "view",
        _view,
        "show segmented cases in the browser; an overlay, an animated GIF and a page of each",
        (
            "unet3d view image=scan.nii.gz pred=seg.nii.gz truth=label.nii.gz regions=brats",
            "unet3d view image=imagesTr/ pred=preds/ truth=labelsTr/",
            "unet3d view image=ct.nii.gz pred=seg.nii.gz window=[-160,240] output=pictures/",
        ),
        schema=ViewConfig,
    ),
)
