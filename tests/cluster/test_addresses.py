"""Where workers listen: the interface and the ports that were asked for."""

from __future__ import annotations

import socket
from pathlib import Path

import pytest

from tests.small import small_config
from unet3d.cluster.addresses import own_address
from unet3d.config.schema import ParallelConfig
from unet3d.errors import RunError


def parallel(folder: Path, *overrides: str) -> ParallelConfig:
    """The settings of a job over nodes."""
    return small_config(folder, "parallel=data", "parallel.interface=lo", *overrides).parallel


def test_the_interface_is_that_of_the_settings(tmp_path: Path) -> None:
    """A node without it is named, with the interfaces that it has."""
    host, _, port = own_address(parallel(tmp_path), 0, 2).partition(":")
    assert host == "127.0.0.1" and int(port) > 0
    with pytest.raises(RunError, match=r"parallel.interface: node .* has no ib7 .*it has .*lo"):
        own_address(parallel(tmp_path, "parallel.interface=ib7"), 0, 2)


def test_workers_of_one_machine_take_different_ports_of_the_range(tmp_path: Path) -> None:
    """Also where some are taken; none left is one line."""
    with socket.create_server(("", 0)) as taken:
        first = taken.getsockname()[1]
        if first > 65000:
            pytest.skip("no room above this port")
        chosen = parallel(tmp_path, f"parallel.ports=[{first},{first + 9}]")
        ports = [int(own_address(chosen, rank, 3).partition(":")[2]) for rank in range(3)]
        assert [port - first for port in ports] == [3, 1, 2]
        only = parallel(tmp_path, f"parallel.ports=[{first},{first}]")
        with pytest.raises(RunError, match=f"no port from {first} to {first} is free for worker 0"):
            own_address(only, 0, 1)
