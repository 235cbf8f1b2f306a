"""A model in the tracking store: logged on its run, and registered under a name."""

from __future__ import annotations

import contextlib
import json
import logging
import shutil
import tempfile
from pathlib import Path

from unet3d.tracking.store import Connection, short
from unet3d.training.errors import RunError

log = logging.getLogger(__name__)
NAME = "model"  # of the model among those of its run


def log_model(connection: Connection, run: str, folder: Path, register: str | None) -> str:
    """Log the MLflow model in `folder` on `run`; returns its id. register: a name, or None.

    Through the client alone: mlflow.pyfunc.log_model would need the process-wide tracking URI.
    Raises RunError where the store does not take it; the model is then marked as failed.
    """
    try:
        model_id = _log(connection, run, folder)
        if register:
            _register(connection, run, model_id, register)
    except Exception as error:
        raise RunError(
            f"log: {connection.uri} does not take the model ({short(error)}); it is in {folder}"
        ) from error
    return model_id


def _log(connection: Connection, run: str, folder: Path) -> str:
    from mlflow.entities import LoggedModelOutput
    from mlflow.models import Model

    client = connection.client
    experiment = client.get_run(run).info.experiment_id
    model = client.create_logged_model(experiment, name=NAME, source_run_id=run)
    model_id = str(model.model_id)
    try:
        with tempfile.TemporaryDirectory() as temporary:
            copy = Path(temporary) / "model"
            shutil.copytree(folder, copy)
            described = Model.load(str(copy))
            described.run_id, described.model_id, described.model_uuid = run, model_id, model_id
            described.artifact_path = model.artifact_location
            described.save(str(copy / "MLmodel"))
            client.log_model_artifacts(model_id, str(copy))
        client.log_outputs(run, [LoggedModelOutput(model_id, step=0)])
        client.finalize_logged_model(model_id, "READY")
    except BaseException:
        with contextlib.suppress(Exception):
            client.finalize_logged_model(model_id, "FAILED")
        raise
    log.info("logged on run %s as models:/%s", run, model_id)
    return model_id


def _register(connection: Connection, run: str, model_id: str, name: str) -> None:
    from mlflow.exceptions import MlflowException

    client = connection.client
    try:
        client.get_registered_model(name)
    except MlflowException as error:
        if error.error_code != "RESOURCE_DOES_NOT_EXIST":
            raise
        client.create_registered_model(name)
    # Not models:/<id>: a data base would look that up at the process-wide tracking URI.
    source = client.get_logged_model(model_id).artifact_location
    version = client.create_model_version(name, source, run_id=run, model_id=model_id)
    shown = json.dumps([{"name": name, "version": int(version.version)}])
    client.set_logged_model_tags(model_id, {"mlflow.modelVersions": shown})  # the pages' link
    log.info("registered as models:/%s/%s", name, version.version)
