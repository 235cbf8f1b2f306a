"""Artifacts that a server has kept are found again without it, by its database and its folder."""

from __future__ import annotations

from pathlib import Path

import pytest
from mlflow.exceptions import MlflowException

from tests.tracking.conftest import TrackingStore
from unet3d.run_folder import run_folder
from unet3d.tracking.connection import connect
from unet3d.tracking.record import record_run
from unet3d.tracking.run import start_run


@pytest.fixture
def served(store: TrackingStore) -> TrackingStore:
    """The store with an experiment such as a server makes it, whose artifacts it serves itself."""
    if store.connection.client.get_experiment_by_name("served") is None:
        store.connection.client.create_experiment("served", "mlflow-artifacts:/7")
    return store


def test_a_run_of_a_server_takes_files_without_it(served: TrackingStore) -> None:
    """In the folder in which the server looks for them; they can be listed and fetched as well."""
    config = served.config("tracking.experiment=served")
    connection = connect(config)
    assert connection is not None
    tracker, folder = start_run(config, connection)
    tracker.finish("FINISHED")
    kept = Path(config.tracking.artifacts) / "7" / folder.run_id / "artifacts" / "config"
    assert (kept / "config.yaml").read_bytes() == folder.config.read_bytes()
    client = connection.client
    listed = [item.path for item in client.list_artifacts(folder.run_id, "config")]
    assert listed == ["config/config.yaml"]
    fetched = client.download_artifacts(folder.run_id, "config/config.yaml", str(folder.path))
    assert Path(fetched).read_bytes() == folder.config.read_bytes()


def test_what_a_server_did_not_take_is_recorded_without_it(served: TrackingStore) -> None:
    """The command that is printed when a server is away at the end of a run."""
    config = served.config("tracking.experiment=served")
    connection = connect(config)
    assert connection is not None
    run = connection.client.create_run(connection.experiment)  # all that the server took
    folder = run_folder(config.output_dir, run.info.run_id)
    folder.checkpoints.mkdir(parents=True)
    folder.config.write_text("lr: 0.25")
    folder.log.write_text("a line")
    again = connect(served.config("tracking.experiment=served", f"resume={run.info.run_id}"))
    assert again is not None
    record_run(again, config, folder, [], {})
    for kind in ("config", "log"):
        assert len(again.client.list_artifacts(run.info.run_id, kind)) == 1


def test_artifacts_outside_the_folder_are_refused(store: TrackingStore) -> None:
    """A path in a database leads nowhere else on this machine."""
    client = store.connection.client
    for location in ("mlflow-artifacts:/x/%2e%2e/%2e%2e", "mlflow-artifacts://another.example/1"):
        experiment = client.create_experiment(location.split("/")[-2], location)
        run = client.create_run(experiment).info.run_id
        with pytest.raises(MlflowException, match="must be a valid http"):
            client.list_artifacts(run)
