"""`unet3d export`: the network of a run as a SavedModel, an ONNX file or an MLflow model."""

from __future__ import annotations

import json
import logging
from dataclasses import replace
from pathlib import Path
from typing import Any

from unet3d.config import ConfigError, ExportConfig
from unet3d.data.atomic import publish, temporary_folder, write_text
from unet3d.inference.trained import Trained, check_runs, load_trained, run_files
from unet3d.quiet import start_tensorflow
from unet3d.training.errors import RunError

log = logging.getLogger(__name__)
FORMATS = ("savedmodel", "onnx", "mlflow")
ABOUT = "network.json"  # beside the model: what its numbers mean


def check_settings(settings: ExportConfig) -> None:
    """Raise ConfigError or RunError for what cannot work; it takes no TensorFlow."""
    chosen = _chosen(settings)
    if (settings.log or settings.register) and "mlflow" not in chosen:
        raise ConfigError(f"format: {settings.format} is not logged; type format=mlflow, or all")
    _check_output(Path(settings.output))
    if "onnx" in chosen:
        from unet3d.inference.onnx import check_installed

        check_installed()
    check_runs([settings.run], settings.output_dir)


def export(settings: ExportConfig) -> Path:
    """Write the models that `format` names, each read back and compared; returns the folder.

    The folder appears whole or not at all. Raises ConfigError or RunError for what cannot work,
    and RunError where a model that was read back computes something else.
    """
    check_settings(settings)
    start_tensorflow(settings.threads)
    output = Path(settings.output)
    trained = load_trained(settings.run, settings.output_dir, windows=1)
    connection = _connection(settings, trained)
    try:
        with temporary_folder(output) as new:
            for name in _chosen(settings):
                _write(name, trained, settings, new)
            write_text(new / ABOUT, json.dumps(about(trained), indent=1))
            if not publish(new, output):
                raise ConfigError(f"output: {output} has been written to meanwhile")
    except OSError as error:
        raise ConfigError(f"output: {output} cannot be written to ({error})") from error
    log.info("%s: %s", output, ", ".join(sorted(path.name for path in output.iterdir())))
    if connection:
        from unet3d.tracking.model import log_model

        log_model(connection, settings.run, output / "mlflow", settings.register)
    return output


def about(trained: Trained) -> dict[str, Any]:
    """What the network takes and gives, for those who call it from another program."""
    from unet3d.models import stride

    config, targets = trained.config, trained.targets
    return {
        "run": trained.run,
        "input": {
            "axes": ["batch", "x", "y", "z", "channels"],
            "channels": list(trained.channels),
            "spacing_mm": config.data.spacing,
            "patch": config.data.patch,
            "size_is_a_multiple_of": stride(config.model),
            "values": "each sequence standardised as by unet3d predict",
        },
        "output": {
            "logits_of": list(targets.names),
            "read_as": "softmax" if targets.exclusive else "one sigmoid each",
        },
    }


def _chosen(settings: ExportConfig) -> tuple[str, ...]:
    if settings.format == "all":
        return FORMATS
    if settings.format not in FORMATS:
        raise ConfigError(
            f"format: {settings.format} is not known; choose one of {', '.join(FORMATS)}, all"
        )
    return (settings.format,)


def _check_output(output: Path) -> None:
    if output.is_dir() and any(output.iterdir()):
        raise ConfigError(f"output: {output} is not empty; name a new folder")
    if output.exists() and not output.is_dir():
        raise ConfigError(f"output: {output} is a file; name a new folder")


def _connection(settings: ExportConfig, trained: Trained) -> Any:
    """The tracking store, where the model is to be logged; it is asked before any work."""
    if not (settings.log or settings.register):
        return None
    from unet3d.tracking.store import connect

    connection = connect(replace(trained.config, resume=settings.run))
    if connection is None:
        raise RunError(f"log: {settings.run} was trained with tracking=none; it has no MLflow run")
    return connection


def _write(name: str, trained: Trained, settings: ExportConfig, folder: Path) -> None:
    """Write and check one format in `folder`."""
    if name == "savedmodel":
        from unet3d.inference.savedmodel import write_savedmodel

        difference = write_savedmodel(trained, folder / "savedmodel")
    elif name == "onnx":
        from unet3d.inference.onnx import write_onnx

        difference = write_onnx(trained, folder / "model.onnx")
    else:
        from unet3d.inference.package import write_mlflow

        files = run_files(settings.run, settings.output_dir)
        difference = write_mlflow(trained, files, folder / "mlflow")
    log.info("%s: read back, its output differs by at most %.2g", name, difference)
