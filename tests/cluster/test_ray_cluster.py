"""Reaching a Ray cluster; its resources are tested with real jobs in tests/e2e."""

from __future__ import annotations

import socket
import threading
import time
from pathlib import Path

import pytest

from tests.small import small_config
from unet3d.cluster.ray_cluster import _check_port, ray_cluster, reachable_host
from unet3d.errors import RunError


@pytest.fixture
def port() -> int:
    """One that nothing listens on."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@pytest.mark.parametrize("scheme", ["", "ray://"])
def test_a_closed_port_is_an_error_at_once(tmp_path: Path, port: int, scheme: str) -> None:
    """Ray alone would try again for ten minutes."""
    address = f"{scheme}127.0.0.1:{port}"
    config = small_config(tmp_path, "parallel=data", f"parallel.address={address}")
    with (
        pytest.raises(RunError, match=rf"parallel\.address: .* at {address} .*refused"),
        ray_cluster(config, "here"),
    ):
        pass


@pytest.mark.parametrize(
    ("variables", "advice"),
    [
        ({}, "started with a token, set RAY_AUTH_MODE=token and RAY_AUTH_TOKEN"),
        ({"RAY_AUTH_TOKEN_PATH": "token"}, "sends the token of .*token: .*RAY_AUTH_MODE=disabled"),
        ({"RAY_AUTH_TOKEN": "abc"}, "sends the token of RAY_AUTH_TOKEN: "),
        ({"RAY_AUTH_TOKEN": "abc", "RAY_AUTH_MODE": "disabled"}, "started with a token, set"),
    ],
)
def test_a_cluster_that_does_not_answer_may_want_another_token(
    tmp_path: Path,
    port: int,
    monkeypatch: pytest.MonkeyPatch,
    variables: dict[str, str],
    advice: str,
) -> None:
    """A file of a token is enough for Ray to send it, to a cluster without one too."""
    for name in ("RAY_AUTH_MODE", "RAY_AUTH_TOKEN", "RAY_AUTH_TOKEN_PATH"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("HOME", str(tmp_path))
    for name, value in variables.items():
        monkeypatch.setenv(name, str(tmp_path / value) if name.endswith("PATH") else value)
    (tmp_path / "token").write_text("abc")
    config = small_config(tmp_path, "parallel=data", f"parallel.address=127.0.0.1:{port}")
    with pytest.raises(RunError, match=advice), ray_cluster(config, "here"):
        pass


def test_the_server_of_a_run_is_where_its_workers_can_reach_it(tmp_path: Path) -> None:
    """On this machine alone, its own address; in a cluster, that of the network to the head."""
    assert reachable_host(small_config(tmp_path)) == "127.0.0.1"
    head = small_config(tmp_path, "parallel=data", "parallel.address=127.0.0.1:6379")
    assert reachable_host(head) == "127.0.0.1"
    away = small_config(tmp_path, "parallel=data", "parallel.address=no-such-host.invalid:1")
    with pytest.raises(RunError, match=r"no Ray cluster answers at no-such-host"):
        reachable_host(away)


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
