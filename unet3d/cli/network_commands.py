"""Commands about a trained network and its segmentations."""

from __future__ import annotations

from dataclasses import replace

from unet3d.cli.command import Command
from unet3d.config.compose import from_overrides
from unet3d.config.schema import EvaluateConfig, ExportConfig, PredictConfig, ViewConfig
from unet3d.errors import ConfigError


def _predict(overrides: list[str]) -> None:
    from unet3d.inference.predict import predict
    from unet3d.sweep.configurations import runs_of_best

    settings = from_overrides(PredictConfig, overrides)
    if (settings.run is None) == (settings.sweep is None):
        raise ConfigError("run: type either run=<id> or sweep=<name>")
    if settings.sweep is not None:
        runs = runs_of_best(settings.output_dir, settings.sweep)
        settings = replace(settings, run=",".join(runs))
    predict(settings)


def _evaluate(overrides: list[str]) -> None:
    from unet3d.evaluation.evaluate import evaluate

    evaluate(from_overrides(EvaluateConfig, overrides))


def _export(overrides: list[str]) -> None:
    from unet3d.inference.export.export import export

    export(from_overrides(ExportConfig, overrides))


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
            "unet3d predict sweep=<name> input=imagesTs/ output=preds/",
        ),
        schema=PredictConfig,
    ),
    Command(
        "evaluate",
        _evaluate,
        "measure a run on its test cases, or one folder of segmentations against another",
        (
            "unet3d evaluate run=<id>",
            "unet3d evaluate run=<id> tta=true output=scores/",
            "unet3d evaluate pred=preds/ truth=labelsTr/ regions=brats",
        ),
        schema=EvaluateConfig,
    ),
    Command(
        "export",
        _export,
        "write a run's network for other programs: SavedModel, ONNX, MLflow",
        (
            "unet3d export run=<id> output=exported",
            "unet3d export run=<id> output=exported format=all",
            "unet3d export run=<id> output=exported format=mlflow register=brain",
        ),
        schema=ExportConfig,
    ),
    Command(
        "view",
        _view,
        "show a segmented case: an overlay, an animated GIF and a page with sliders",
        (
            "unet3d view image=scan.nii.gz pred=seg.nii.gz",
            "unet3d view image=scan.nii.gz pred=seg.nii.gz truth=label.nii.gz regions=brats",
            "unet3d view image=ct.nii.gz pred=seg.nii.gz window=[-160,240] output=pictures/",
        ),
        schema=ViewConfig,
    ),
)
