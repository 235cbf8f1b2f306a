"""Where a training records itself, whatever keeps it."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any, Protocol


class Tracker(Protocol):
    """Where a training records itself."""

    def set_tags(self, tags: dict[str, str]) -> None: ...
    def log_dataset(self, dataset: dict[str, str]) -> None: ...
    def log_epoch(self, record: dict[str, Any]) -> None: ...
    def log_end(self, record: Callable[[], dict[str, Any]]) -> None: ...
    def log_artifact(self, path: Path, folder: str) -> None: ...
    def finish(self, status: str, reason: str = "") -> None: ...


class NoTracker:
    """tracking=none: the run is recorded in its folder only."""

    def set_tags(self, tags: dict[str, str]) -> None:
        """Nothing to do."""

    def log_dataset(self, dataset: dict[str, str]) -> None:
        """Nothing to do."""

    def log_epoch(self, record: dict[str, Any]) -> None:
        """Nothing to do."""

    def log_end(self, record: Callable[[], dict[str, Any]]) -> None:
        """Nothing to do."""

    def log_artifact(self, path: Path, folder: str) -> None:
        """Nothing to do."""

    def finish(self, status: str, reason: str = "") -> None:
        """Nothing to do."""
