"""Where a worker listens for the gradients of the others."""

from __future__ import annotations

import errno
import socket

from unet3d.config.schema import ParallelConfig
from unet3d.errors import RunError


def own_address(parallel: ParallelConfig, rank: int, workers: int) -> str:
    """This node's address, of `parallel.interface`, with a port that nobody listens on.

    Of `parallel.ports` each of the workers takes other ones, as some may share a machine. Raises
    RunError where the node has no such interface, or no port of them is free.
    """
    host = _host(parallel.interface)
    first, last = parallel.ports or (0, 0)
    for port in range(first + rank, last + 1, workers) if parallel.ports else (0,):
        with socket.socket() as probe:
            try:
                probe.bind(("", port))
            except OSError as error:
                if error.errno not in (errno.EADDRINUSE, errno.EACCES):
                    raise
                continue
            return f"{host}:{probe.getsockname()[1]}"
    raise RunError(
        f"parallel.ports: on node {socket.gethostname()} no port from {first} to {last} is free "
        f"for worker {rank} of {workers}; type a wider range"
    )


def _host(interface: str | None) -> str:
    if interface is None:
        import ray

        return str(ray.util.get_node_ip_address())
    import psutil

    interfaces = psutil.net_if_addrs()
    for address in interfaces.get(interface, ()):
        if address.family == socket.AF_INET:
            return str(address.address)
    raise RunError(
        f"parallel.interface: node {socket.gethostname()} has no {interface} with an IPv4 "
        f"address; it has {', '.join(sorted(interfaces))}"
    )
