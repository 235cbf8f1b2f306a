"""What runs beside what: `ray stop` ends every Ray of the machine, that of another test too."""

from __future__ import annotations

import fcntl
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest


@pytest.fixture(autouse=True)
def alone_where_ray_is_stopped(request: pytest.FixtureRequest) -> Iterator[None]:
    """Tests marked stops_ray wait for the others' end, and the others for theirs."""
    alone = request.node.get_closest_marker("stops_ray") is not None
    with (Path(tempfile.gettempdir()) / "unet3d-tests.lock").open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX if alone else fcntl.LOCK_SH)
        yield
