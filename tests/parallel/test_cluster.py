"""Reaching a Ray cluster; what one offers is tested with real jobs in tests/e2e."""

from __future__ import annotations

import socket
import threading
import time
from pathlib import Path

import pytest

from tests.small import small_config
from unet3d.parallel.cluster import _check_port, ray_cluster
from unet3d.training.errors import RunError


@pytest.fixture
def port() -> int:
    """One that nothing listens at."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@pytest.mark.parametrize("scheme", ["", "ray://"])
def test_a_closed_port_is_told_at_once(tmp_path: Path, port: int, scheme: str) -> None:
    """Ray alone would try again for ten minutes."""
    address = f"{scheme}127.0.0.1:{port}"
    config = small_config(tmp_path, "parallel=data", f"parallel.address={address}")
    with (
        pytest.raises(RunError, match=rf"parallel\.address: .* at {address} .*refused"),
        ray_cluster(config, "here"),
    ):
        pass


def test_a_cluster_that_starts_is_waited_for(port: int) -> None:
    """parallel.wait_for_nodes is for it too."""

    def listen() -> None:
        time.sleep(0.5)
        with socket.create_server(("127.0.0.1", port)) as server:
            server.accept()

    threading.Thread(target=listen, daemon=True).start()
    _check_port(f"127.0.0.1:{port}", seconds=20)


@pytest.mark.parametrize("address", ["", "auto", "local", "[::1]"])
def test_an_address_without_a_port_is_rays_affair(address: str) -> None:
    """Only host:port is tried."""
    _check_port(address, seconds=0)
