"""The tracking store: found, refused in one line, and never worth a run's results."""

from __future__ import annotations

import logging
from pathlib import Path

import pytest

from tests.tracking.conftest import TrackingStore, tracking_config
from unet3d.errors import RunError
from unet3d.tracking.connection import connect, record_or_warn, short, tracking_uri


def test_the_environment_names_the_store_before_the_settings(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """MLFLOW_TRACKING_URI replaces tracking.uri, as with every MLflow program."""
    config = tracking_config(tmp_path)
    assert tracking_uri(config) == f"sqlite:///{tmp_path}/mlflow.db"
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://server:5000")
    assert tracking_uri(config) == "http://server:5000"


def test_an_experiment_is_created_once_with_its_artifacts(store: TrackingStore) -> None:
    """A second connection finds the experiment, whose artifacts are where the settings say."""
    again = connect(store.config())
    assert again is not None and again.experiment == store.connection.experiment
    experiment = again.client.get_experiment(again.experiment)
    assert experiment.name == "unet3d"
    assert experiment.artifact_location == (store.folder / "mlartifacts" / "unet3d").as_uri()
    other = connect(store.config("tracking.experiment=other"))
    assert other is not None and other.experiment != again.experiment


def test_tracking_none_connects_to_nothing(tmp_path: Path) -> None:
    """No store is asked for, and none is created."""
    assert connect(tracking_config(tmp_path, "tracking=none")) is None
    assert list(tmp_path.iterdir()) == []


def test_a_store_that_does_not_answer_is_one_line(tmp_path: Path) -> None:
    """A database that cannot be opened, and a run that the store does not know."""
    (tmp_path / "file").write_text("")
    uri = f"sqlite:///{tmp_path}/file/mlflow.db"
    with pytest.raises(RunError) as error:
        connect(tracking_config(tmp_path, f"tracking.uri={uri}"))
    assert str(error.value).startswith(f"tracking: {uri} cannot be used (")
    assert "tracking=none" in str(error.value) and "\n" not in str(error.value)


def test_a_run_of_another_store_cannot_be_resumed(store: TrackingStore) -> None:
    """The error comes before any training, and names the run."""
    with pytest.raises(RunError, match="does not know run 0123456789"):
        connect(store.config("resume=0123456789"))


def test_a_record_that_fails_is_a_warning(caplog: pytest.LogCaptureFixture) -> None:
    """The value of the call comes back; a failure is one line, and None."""

    def refuse(reason: str) -> None:
        raise OSError(f"{reason}\nand more")

    with caplog.at_level(logging.WARNING, "unet3d"):
        assert record_or_warn("{}-{}".format, 1, 2) == "1-2"
        assert caplog.messages == []
        assert record_or_warn(refuse, "no space left") is None
    assert caplog.messages == ["tracking: not recorded (no space left)"]


def test_a_long_error_is_shortened_to_its_cause() -> None:
    """MLflow wraps a refused connection in pages of text; its first cause is one line."""
    try:
        try:
            raise OSError("connection refused")
        except OSError as cause:
            raise RuntimeError("API request failed " + "x" * 500) from cause
    except RuntimeError as error:
        assert short(error) == "connection refused"
    assert short(ValueError("y" * 500)) == "y" * 200
    assert short(ValueError("first\nsecond")) == "first"
