"""One SQLite store for all tests of the tracking package: MLflow takes seconds to create it."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import pytest

from unet3d.config.compose import compose_config
from unet3d.config.schema import Config
from unet3d.tracking.connection import Connection, connect


@dataclass(frozen=True)
class TrackingStore:
    """A store, a connection to it, and the folder with its database."""

    folder: Path
    connection: Connection

    def config(self, *overrides: str) -> Config:
        """A small configuration that records in this store."""
        return tracking_config(self.folder, *overrides)


def tracking_config(folder: Path, *overrides: str) -> Config:
    """A configuration with tracking=mlflow and its store in `folder`."""
    base = ["experiment=smoke", f"output_dir={folder}", "tracking.system_metrics=false"]
    return compose_config([*base, *overrides])


@pytest.fixture(autouse=True)
def no_tracking_uri(monkeypatch: pytest.MonkeyPatch) -> None:
    """The tests choose the store, not the environment they run in."""
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)


_stores: dict[Path, TrackingStore] = {}  # tests/faults shares it


@pytest.fixture(scope="session")
def store(tmp_path_factory: pytest.TempPathFactory) -> TrackingStore:
    """The store, on disk before the first test."""
    session = tmp_path_factory.getbasetemp()
    if session not in _stores:
        folder = tmp_path_factory.mktemp("tracking")
        with pytest.MonkeyPatch.context() as patch:
            patch.delenv("MLFLOW_TRACKING_URI", raising=False)
            connection = connect(tracking_config(folder))
        assert connection is not None
        _stores[session] = TrackingStore(folder, connection)
    return _stores[session]
