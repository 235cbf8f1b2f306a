"""Ray clusters of a test's own, beside others on this machine: with declared GPUs, autoscaled."""

from __future__ import annotations

import contextlib
import json
import os
import socket
import subprocess
import tempfile
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import psutil

from tests.e2e.commands import free_port

MEMORY = 80 * 2**20  # of an object store


@contextmanager
def cluster_of(*nodes: tuple[int, int]) -> Iterator[Any]:
    """A head without CPUs, and a node of each (CPUs, GPUs); the GPUs are declared."""
    from ray.cluster_utils import Cluster

    head = {"num_cpus": 0, "num_gpus": 0, "object_store_memory": MEMORY}
    cluster = Cluster()
    try:
        for attempt in range(3):  # another process may take the port that Ray has just found free
            try:
                cluster.add_node(**head, gcs_server_port=free_port())
                break
            except RuntimeError:
                if attempt == 2:
                    raise
        for cpus, gpus in nodes:
            cluster.add_node(num_cpus=cpus, num_gpus=gpus, object_store_memory=MEMORY)
        cluster.wait_for_nodes()
        yield cluster
    finally:
        cluster.shutdown()


@contextmanager
def autoscaled(
    resources: Mapping[str, int], most: int, variables: Mapping[str, str]
) -> Iterator[str]:
    """The address of a head without CPUs whose autoscaler starts up to `most` nodes as needed.

    Ray's own autoscaler, with its provider that starts nodes as processes of this machine; idle
    ones end after 6 s. resources: of a node; variables: of the environment of all processes. Own
    variables of the caller: RAY_AUTH_MODE=disabled.
    """
    from ray.autoscaler._private.fake_multi_node.node_provider import FAKE_HEAD_NODE_ID

    port = free_port()
    # As the provider names its head; by another name the autoscaler would start heads without end.
    head_type = "ray.head.default"
    provider = {
        "type": "fake_multinode",
        "gcs_address": f"127.0.0.1:{port}",
        "head_node_id": FAKE_HEAD_NODE_ID,
        "use_node_id_as_ip": True,
        "disable_node_updaters": True,
        "disable_launch_config_check": True,
    }
    node = {"resources": {**resources, "object_store_memory": MEMORY}, "node_config": {}}
    lists = ("initialization_commands", "setup_commands", "head_setup_commands")
    lists += ("worker_setup_commands", "head_start_ray_commands", "worker_start_ray_commands")
    config = {
        "cluster_name": "test",
        "max_workers": most,
        "idle_timeout_minutes": 0.1,
        "upscaling_speed": 100.0,
        "provider": provider,
        "head_node_type": head_type,
        "available_node_types": {
            head_type: {"resources": {"CPU": 0}, "node_config": {}, "max_workers": 0},
            "node": {**node, "min_workers": 0, "max_workers": most},
        },
        **{name: [] for name in (*lists, "cluster_synced_files", "rsync_exclude", "rsync_filter")},
        **{name: {} for name in ("auth", "docker", "file_mounts")},
        "file_mounts_sync_continuously": False,
    }
    own = {
        "RAY_FAKE_CLUSTER": "1",
        "RAY_AUTH_MODE": "disabled",
        "RAY_OVERRIDE_NODE_ID_FOR_TESTING": FAKE_HEAD_NODE_ID,
        "AUTOSCALER_UPDATE_INTERVAL_S": "1",
        "RAY_USAGE_STATS_ENABLED": "0",
    }
    with tempfile.TemporaryDirectory(prefix="ray", ignore_cleanup_errors=True) as folder:
        path = Path(folder, "autoscaler.json")
        path.write_text(json.dumps(config))
        head = subprocess.Popen(
            [
                *("ray", "start", "--head", "--block", f"--port={port}", "--num-cpus=0"),
                *("--num-gpus=0", "--node-ip-address=127.0.0.1", "--include-dashboard=false"),
                *(f"--autoscaling-config={path}", f"--object-store-memory={MEMORY}"),
                f"--temp-dir={folder}",  # nor does `address=auto` of others find it
            ],
            env={**os.environ, **own, **variables},
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        try:
            _wait_for_port(port, head)
            yield f"127.0.0.1:{port}"
        finally:
            family = psutil.Process(head.pid).children(recursive=True)
            for process in (psutil.Process(head.pid), *family):
                with contextlib.suppress(psutil.Error):
                    process.kill()
            head.wait()


def _wait_for_port(port: int, head: subprocess.Popen[bytes]) -> None:
    deadline = time.monotonic() + 240
    while True:
        assert head.poll() is None and time.monotonic() < deadline
        try:
            return socket.create_connection(("127.0.0.1", port), 1).close()
        except OSError:
            time.sleep(0.2)
