"""A model in the tracking store: below its run, and in versions under a registered name."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from mlflow.models import Model

from tests.tracking.conftest import TrackingStore
from unet3d.errors import RunError
from unet3d.tracking.model_registry import log_model


@pytest.fixture
def model(tmp_path: Path) -> Path:
    """The folder of an MLflow model, as small as can be."""
    (tmp_path / "model").mkdir()
    Model().save(str(tmp_path / "model" / "MLmodel"))
    (tmp_path / "model" / "weights").write_text("1")
    return tmp_path / "model"


@pytest.fixture
def run_id(store: TrackingStore) -> str:
    return store.connection.client.create_run(store.connection.experiment).info.run_id


def test_a_model_is_logged_below_its_run(store: TrackingStore, run_id: str, model: Path) -> None:
    """The copy in the store knows its run and id; the exported folder stays as it was."""
    before = (model / "MLmodel").read_text()
    model_id = log_model(store.connection, run_id, model, None)
    logged = store.connection.client.get_logged_model(model_id)
    assert str(logged.status) == "READY" and logged.source_run_id == run_id
    outputs = store.connection.client.get_run(run_id).outputs.model_outputs
    assert [output.model_id for output in outputs] == [model_id]
    copy = Path(logged.artifact_location.removeprefix("file://"))
    assert (copy / "weights").read_text() == "1" and run_id in (copy / "MLmodel").read_text()
    assert (model / "MLmodel").read_text() == before


def test_a_name_registered_twice_gets_version_2(
    store: TrackingStore, run_id: str, model: Path
) -> None:
    """The second model does not replace the first."""
    ids = [log_model(store.connection, run_id, model, "brain") for _ in range(2)]
    client = store.connection.client
    versions = {int(v.version): v for v in client.search_model_versions("name='brain'")}
    assert sorted(versions) == [1, 2] and len(set(ids)) == 2
    assert all(version.run_id == run_id for version in versions.values())
    tags = [client.get_logged_model(model_id).tags["mlflow.modelVersions"] for model_id in ids]
    assert ['"version": 1' in tags[0], '"version": 2' in tags[1]] == [True, True]


def test_a_store_that_refuses_is_one_line(store: TrackingStore, run_id: str, model: Path) -> None:
    """The line says where the model is, and the store does not call it ready."""

    class Refusing:
        """A client that cannot store files."""

        created: Any = None

        def __getattr__(self, name: str) -> Any:
            return getattr(store.connection.client, name)

        def create_logged_model(self, *values: Any, **named: Any) -> Any:
            self.created = store.connection.client.create_logged_model(*values, **named)
            return self.created

        def log_model_artifacts(self, *values: Any) -> None:
            raise OSError("disk full\nand more")

    client = Refusing()
    with pytest.raises(RunError, match=r"does not accept the model \(disk full\)") as error:
        log_model(replace(store.connection, client=client), run_id, model, "brain-refused")
    assert str(model) in str(error.value) and "\n" not in str(error.value)
    logged = store.connection.client.get_logged_model(client.created.model_id)
    assert str(logged.status) == "FAILED"
