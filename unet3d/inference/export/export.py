"""`unet3d export`: the network of a run as a SavedModel, an ONNX file or an MLflow model."""

from __future__ import annotations

import json
import logging
from dataclasses import replace
from pathlib import Path
from typing import Any

from unet3d.config.schema import ExportConfig
from unet3d.errors import ConfigError, RunError
from unet3d.files import publish, temporary_folder, write_text
from unet3d.inference.ensemble import Ensemble
from unet3d.inference.export.model_card import CARD, model_card
from unet3d.inference.network import (
    ABOUT,
    TrainedNetwork,
    about,
    check_runs,
    load_trained,
    run_files,
    start_tensorflow,
)

log = logging.getLogger(__name__)
FORMATS = ("savedmodel", "onnx", "mlflow")


def check_settings(settings: ExportConfig, ensemble: Ensemble | None = None) -> None:
    """Raise ConfigError or RunError where the export cannot succeed; needs no TensorFlow."""
    chosen = _chosen(settings)
    if (settings.log or settings.register) and "mlflow" not in chosen:
        raise ConfigError(f"format: {settings.format} cannot be logged; type format=mlflow, or all")
    _check_output(Path(settings.output))
    if "onnx" in chosen:
        from unet3d.inference.export.onnx import check_installed

        check_installed()
    check_runs(ensemble.runs if ensemble else [_run(settings)], settings.output_dir)


def _run(settings: ExportConfig) -> str:
    if settings.run is None:
        raise ConfigError("run: type either run=<id> or sweep=<name>")
    return settings.run


def export(settings: ExportConfig, ensemble: Ensemble | None = None) -> Path:
    """Write the models that `format` names, each read back and compared; returns the folder.

    ensemble: several runs to be written as one network, in place of settings.run.
    The folder appears whole or not at all. Raises ConfigError or RunError where it cannot succeed,
    and RunError where a model that was read back computes something else.
    """
    check_settings(settings, ensemble)
    start_tensorflow(settings.threads)
    output = Path(settings.output)
    if ensemble is None:
        trained = load_trained(_run(settings), settings.output_dir, batch_size=1)
    else:
        trained = _joined(ensemble, settings.output_dir)
    recorded = ensemble.record if ensemble else settings.run
    connection = _connection(settings, trained, recorded)
    try:
        with temporary_folder(output) as new:
            for name in _chosen(settings):
                _write_format(name, trained, settings, ensemble, new)
            write_text(new / ABOUT, json.dumps(about(trained), indent=1))
            runs = ensemble.runs if ensemble else (_run(settings),)
            write_text(new / CARD, _card(trained, runs, settings.output_dir))
            if not publish(new, output):
                raise ConfigError(f"output: {output} was created meanwhile; name a new folder")
    except OSError as error:
        raise ConfigError(f"output: {output} cannot be written ({error})") from error
    log.info("%s: %s", output, ", ".join(sorted(path.name for path in output.iterdir())))
    if connection:
        from unet3d.tracking.model_registry import log_model

        log_model(connection, connection.run, output / "mlflow", settings.register)
    return output


def _card(trained: TrainedNetwork, runs: tuple[str, ...], output_dir: str) -> str:
    from unet3d.models import network_name

    name = network_name(trained.config.model)
    return model_card(trained.config, about(trained), run_files(runs[0], output_dir), name, runs)


def _joined(ensemble: Ensemble, output_dir: str) -> TrainedNetwork:
    from unet3d.inference.export.joined import joined
    from unet3d.inference.predict import load_ensemble

    networks = load_ensemble(ensemble.runs, output_dir, 1, "float32", ensemble.weight_of)
    return joined(networks, ensemble.typed)


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


def _connection(settings: ExportConfig, trained: TrainedNetwork, recorded: str | None) -> Any:
    """The tracking store if the model is to be logged, reached before any work; else None.

    recorded: the run that gets it, of an ensemble the sweep's.
    """
    if not (settings.log or settings.register):
        return None
    if recorded is None:
        raise RunError(f"log: {trained.run} has no run in MLflow that could hold the model")
    from unet3d.tracking.connection import connect

    connection = connect(replace(trained.config, resume=recorded))
    if connection is None:
        raise RunError(f"log: {recorded} was trained with tracking=none; it has no MLflow run")
    return connection


def _write_format(
    name: str,
    trained: TrainedNetwork,
    settings: ExportConfig,
    ensemble: Ensemble | None,
    folder: Path,
) -> None:
    """Write and check one format in `folder`."""
    if name == "savedmodel":
        from unet3d.inference.export.savedmodel import write_savedmodel

        difference = write_savedmodel(trained, folder / "savedmodel")
    elif name == "onnx":
        from unet3d.inference.export.onnx import write_onnx

        difference = write_onnx(trained, folder / "model.onnx")
    else:
        from unet3d.inference.export.mlflow import write_mlflow

        weights = ensemble.weight_of if ensemble else {_run(settings): 1}
        members = [(run_files(run, settings.output_dir), weight) for run, weight in weights.items()]
        difference = write_mlflow(trained, members, folder / "mlflow")
    log.info("%s: read back, its output differs by at most %.2g", name, difference)
