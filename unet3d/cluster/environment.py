"""The environment variables of the command that its workers on other nodes get, too."""

from __future__ import annotations

import os

PREFIXES = ("NCCL_", "CUDA_", "XLA_", "TF_", "AWS_", "MLFLOW_")
# Which GPUs, and which peers, a worker has is for Ray and the worker to say.
OF_A_PROCESS = ("CUDA_VISIBLE_DEVICES", "TF_CONFIG")


def worker_environment(interface: str | None = None) -> dict[str, str]:
    """Settings of NCCL, CUDA, XLA, TensorFlow, AWS and MLflow, as they are now.

    interface: parallel.interface, which NCCL uses too unless another is set for it.
    """
    chosen = {"NCCL_SOCKET_IFNAME": f"={interface}"} if interface else {}
    return chosen | {
        key: value
        for key, value in os.environ.items()
        if key.startswith(PREFIXES) and key not in OF_A_PROCESS
    }
