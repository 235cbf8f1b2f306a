"""TF_CONFIG for the workers of a Ray Train job.

Ray's own TensorflowTrainer does the same, but has the process that starts a job and Ray's
controller import TensorFlow: docs/decisions/0005-data-parallel-jobs.md has the figures.
"""

from __future__ import annotations

import json
import os
import socket
from dataclasses import dataclass
from typing import Any

import ray
from ray.train.backend import Backend, BackendConfig


@dataclass
class TfConfig(BackendConfig):
    """Workers that find each other through TF_CONFIG."""

    @property
    def backend_cls(self) -> type[Backend]:
        """What Ray calls when the workers are up."""
        return TfConfigBackend


class TfConfigBackend(Backend):
    """Asks each worker for an address and tells all of them to each."""

    def on_start(self, worker_group: Any, backend_config: BackendConfig) -> None:
        """Called by Ray before the training function."""
        addresses = worker_group.execute(free_address)
        ray.get(
            [
                worker_group.execute_single_async(rank, set_tf_config, addresses, rank)
                for rank in range(len(addresses))
            ]
        )


def free_address() -> str:
    """This node's address with a port that nobody listens on."""
    host = ray.util.get_node_ip_address()
    with socket.socket() as probe:
        probe.bind(("", 0))
        return f"{host}:{probe.getsockname()[1]}"


def set_tf_config(addresses: list[str], rank: int) -> None:
    """Tell TensorFlow in this process who works with it."""
    cluster = {"worker": addresses}
    os.environ["TF_CONFIG"] = json.dumps(
        {"cluster": cluster, "task": {"type": "worker", "index": rank}}
    )
