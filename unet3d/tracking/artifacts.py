"""The artifacts that `tracking=server` has kept, read and written where its server runs no more.

A run that was recorded through a server has artifacts at `mlflow-artifacts:/<path>`, which MLflow
finds only through a server. Its database and the folder of its artifacts are files here.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlparse

SCHEME = "mlflow-artifacts"
_folders: dict[str, Path] = {}  # of the artifacts, by the address of the database


def find_served_artifacts(uri: str, folder: Path) -> None:
    """Let clients of the database `uri` find in `folder` what a server has stored there."""
    from mlflow.store.artifact import artifact_repository_registry as registry

    _folders[uri] = folder.resolve()
    registry._artifact_repository_registry.register(SCHEME, _repository)


def _repository(
    artifact_uri: str, tracking_uri: str | None = None, registry_uri: str | None = None
) -> Any:
    """What reads and writes at `artifact_uri`; a client of a server, or of others, asks MLflow."""
    from mlflow.store.artifact.local_artifact_repo import LocalArtifactRepository
    from mlflow.store.artifact.mlflow_artifacts_repo import MlflowArtifactsRepository

    folder, address = _folders.get(tracking_uri or ""), urlparse(artifact_uri)
    if folder is not None and not address.netloc:
        path = (folder / unquote(address.path).lstrip("/")).resolve()
        if path.is_relative_to(folder):
            return LocalArtifactRepository(path.as_uri(), tracking_uri, registry_uri)
    return MlflowArtifactsRepository(artifact_uri, tracking_uri, registry_uri)
