"""A rig for the tests that need nodes of their own: skipped without root or its packages."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests import REPOSITORY
from tests.rig.rig import NoRig, Rig, rig


@pytest.fixture(scope="module")
def cluster() -> Iterator[Rig]:
    """Two nodes of a core each, and Slurm; one rig at a time on a machine."""
    try:
        with rig(2) as started:
            yield started
    except NoRig as missing:
        pytest.skip(f"no cluster on this machine: {missing}")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A user's folder on the disk that the nodes share."""
    for name in ("examples", "train.py", "sweep.py"):
        (tmp_path / name).symlink_to(REPOSITORY / name)
    return tmp_path
