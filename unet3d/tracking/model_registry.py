"""A model in the tracking store: logged to its run, and registered under a name."""

from __future__ import annotations

import contextlib
import json
import logging
import shutil
import tempfile
from pathlib import Path

from unet3d.errors import RunError
from unet3d.tracking.connection import Connection, short

log = logging.getLogger(__name__)
MODEL_NAME = "model"  # among the models of its run


def log_model(connection: Connection, run: str, folder: Path, register: str | None) -> str:
    """Log the MLflow model in `folder` to `run`; returns its id. register: a name, or None.

    Only the client is used, as mlflow.pyfunc.log_model needs the process-wide tracking URI.
    Raises RunError where the store does not accept it; the model is then marked as failed.
    """
    try:
        model_id = _log(connection, run, folder)
        if register:
            _register(connection, run, model_id, register)
    except Exception as error:
        raise RunError(
            f"log: {connection.uri} does not accept the model ({short(error)}); it is in {folder}"
        ) from error
    return model_id


def _log(connection: Connection, run: str, folder: Path) -> str:
    from mlflow.entities import LoggedModelOutput
    from mlflow.models import Model

    client = connection.client
    experiment = client.get_run(run).info.experiment_id
    model = client.create_logged_model(experiment, name=MODEL_NAME, source_run_id=run)
    model_id = str(model.model_id)
    try:
        with tempfile.TemporaryDirectory() as temporary:
            copy = Path(temporary) / "model"
            shutil.copytree(folder, copy)
            description = Model.load(str(copy))
            description.run_id, description.model_id = run, model_id
            description.model_uuid = model_id
            description.artifact_path = model.artifact_location
            description.save(str(copy / "MLmodel"))
            client.log_model_artifacts(model_id, str(copy))
        client.log_outputs(run, [LoggedModelOutput(model_id, step=0)])
        client.finalize_logged_model(model_id, "READY")
    except BaseException:
        with contextlib.suppress(Exception):
            client.finalize_logged_model(model_id, "FAILED")
        raise
    log.info("logged to run %s as models:/%s", run, model_id)
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
    # Not models:/<id>, which a database would look up at the process-wide tracking URI.
    source = client.get_logged_model(model_id).artifact_location
    version = client.create_model_version(name, source, run_id=run, model_id=model_id)
    shown = json.dumps([{"name": name, "version": int(version.version)}])
    # For the link on MLflow's pages.
    client.set_logged_model_tags(model_id, {"mlflow.modelVersions": shown})
    log.info("registered as models:/%s/%s", name, version.version)
