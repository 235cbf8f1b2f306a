"""A SQLite file that workers on several nodes would write: said where it is on a network disk."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.small import small_config
from unet3d.tracking import connection
from unet3d.tracking.connection import disk_kind, warn_of_shared_file


def test_the_file_system_of_a_path_is_found_before_it_exists() -> None:
    """By the mount that is nearest above it."""
    assert disk_kind(Path("/proc/no/such/file")) == "proc"
    assert disk_kind(Path("/no/such/file")) == disk_kind(Path("/"))


@pytest.mark.parametrize(
    ("kind", "overrides", "warns"),
    [
        ("nfs4", ["tracking=mlflow"], True),
        ("lustre", ["tracking=mlflow"], True),
        ("ext4", ["tracking=mlflow"], False),
        ("nfs4", ["tracking=none"], False),
        ("nfs4", ["tracking=mlflow", "tracking.uri=http://server"], False),
        ("nfs4", ["tracking=mlflow", "parallel.address=null"], False),
    ],
)
def test_several_nodes_on_one_sqlite_file_are_warned_of(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    kind: str,
    overrides: list[str],
    warns: bool,
) -> None:
    """Its locks may fail there; the warning says what to type instead."""
    said: list[str] = []
    for name in ("RAY_ADDRESS", "MLFLOW_TRACKING_URI"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(connection, "disk_kind", lambda path: kind)
    monkeypatch.setattr(connection.log, "warning", lambda text, *values: said.append(text % values))
    cluster = ["parallel=data", "nodes=2", "parallel.address=10.0.0.1:6379"]
    warn_of_shared_file(small_config(tmp_path, *cluster, *overrides))
    assert [kind in line and "type tracking=server" in line for line in said] == [True] * warns
