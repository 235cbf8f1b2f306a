"""The Ray cluster of a run: an existing one, or this machine."""

from __future__ import annotations

import logging
import os
import socket
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from unet3d.cluster.local_ray import local_ray, signal_handlers_kept
from unet3d.cluster.ray_head import leave_cluster, watched_head
from unet3d.config.schema import Config
from unet3d.errors import RunError, RunStopped, in_a_line
from unet3d.machine import cores, gpu_sizes

log = logging.getLogger(__name__)
CONNECT_SECONDS = 5.0  # for a port to answer


def cluster_address(config: Config) -> str | None:
    """Of the cluster that others have started; None where Ray is to start on this machine."""
    address = config.parallel.address or os.environ.get("RAY_ADDRESS")
    return None if address in (None, "", "local") else address


@contextmanager
def ray_cluster(config: Config, here: str, **settings: Any) -> Iterator[bool]:
    """Connect to the configured cluster, or start Ray here; yields whether it is this machine's.

    here: what runs on this machine where no cluster is named, for the log. settings: of ray.init.
    Raises RunError where no cluster answers at the address, after parallel.wait_for_nodes, or
    where Ray does not start here.
    """
    os.environ.setdefault("RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO", "0")
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    import ray

    address = cluster_address(config)
    _check_port(address or "", config.parallel.wait_for_nodes)
    quiet: Any = {"log_to_driver": False, "logging_level": logging.ERROR, **settings}
    if address is None:
        log.info("parallel: no Ray cluster is named, so %s", here)
        own = {
            "num_cpus": max(config.nodes, cores()),
            "include_dashboard": False,
            "object_store_memory": 100 * 2**20,  # nothing large goes through it
        }
        if gpus := gpu_sizes():  # Ray itself asks NVML, which some containers lack
            own["num_gpus"] = len(gpus)
        with local_ray({**own, **quiet}):
            yield True
        return
    try:
        with signal_handlers_kept():
            ray.init(address, **quiet)
    except RunStopped:
        raise
    except (ConnectionError, ValueError, RuntimeError, ray.exceptions.RayError) as error:
        raise _no_cluster(address, error) from error
    with watched_head(ray.get_runtime_context().gcs_address):
        try:
            yield False
        finally:
            leave_cluster()


def reachable_host(config: Config) -> str:
    """This machine's address for workers: of the network that the head is on, or its own alone.

    config.parallel.address says where the head is.
    """
    import ray

    address = cluster_address(config)
    if address is None:
        return "127.0.0.1"
    host, _, port = address.rpartition("://")[2].rpartition(":")
    if not (host and port.isdecimal()):
        return str(ray.util.get_node_ip_address())
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:  # sends nothing
        try:
            probe.connect((host, int(port)))
        except (OSError, OverflowError) as error:
            raise _no_cluster(address, error) from error
        return str(probe.getsockname()[0])


def _check_port(address: str, seconds: float) -> None:
    """RunError where nothing listens on host:port within `seconds`; Ray would try for minutes."""
    host, _, port = address.rpartition("://")[2].rpartition(":")
    if not (host and port.isdecimal()):
        return  # auto, or a word that Ray knows
    deadline = time.monotonic() + seconds
    while True:
        try:
            socket.create_connection((host.strip("[]"), int(port)), CONNECT_SECONDS).close()
            return
        except (OSError, OverflowError) as error:
            if time.monotonic() >= deadline:
                raise _no_cluster(address, error) from error
        time.sleep(1)


def _no_cluster(address: str, error: Exception) -> RunError:
    if "Version mismatch" in str(error):
        versions = " ".join(str(error).split())[:300]
        return RunError(
            f"parallel.address: the cluster at {address} runs another Ray or Python than this "
            f"command ({versions}); install the same on all nodes"
        )
    return RunError(
        f"parallel.address: no Ray cluster answers at {address} "
        f"({in_a_line(error)}); start one with `ray start --head`, or leave "
        f"parallel.address and RAY_ADDRESS unset for workers on this machine{_token_advice()}"
    )


def _token_advice() -> str:
    """What may keep a cluster from answering although it runs: whether Ray sends a token.

    Without RAY_AUTH_MODE the mere file of a token, left by another cluster, switches it on.
    """
    path = Path(os.environ.get("RAY_AUTH_TOKEN_PATH") or Path.home() / ".ray" / "auth_token")
    mode = os.environ.get("RAY_AUTH_MODE")
    if mode == "token" or (mode is None and (path.is_file() or "RAY_AUTH_TOKEN" in os.environ)):
        known = "RAY_AUTH_TOKEN" if "RAY_AUTH_TOKEN" in os.environ else str(path)
        return (
            f". Ray sends the token of {known}: if the cluster was started without one, set "
            "RAY_AUTH_MODE=disabled, and if with another, give this shell that one"
        )
    return ". If the cluster was started with a token, set RAY_AUTH_MODE=token and RAY_AUTH_TOKEN"
