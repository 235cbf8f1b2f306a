"""Which environment variables of a command reach its workers."""

from __future__ import annotations

import subprocess
import sys

import pytest

from unet3d.cluster.environment import worker_environment


def test_settings_of_libraries_travel_and_those_of_a_process_do_not(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """What the user sets for NCCL, XLA or a bucket holds on every node; its GPUs do not."""
    kept = {
        "NCCL_SOCKET_IFNAME": "ib0",
        "CUDA_CACHE_PATH": "/scratch",
        "XLA_FLAGS": "--xla_gpu_autotune_level=0",
        "AWS_PROFILE": "lab",
        "TF_GPU_ALLOCATOR": "cuda_malloc_async",
        "MLFLOW_S3_ENDPOINT_URL": "http://s3",
    }
    left = {"CUDA_VISIBLE_DEVICES": "3", "TF_CONFIG": "{}", "OTHER": "1"}
    for key, value in {**kept, **left}.items():
        monkeypatch.setenv(key, value)
    assert {key: value for key, value in worker_environment().items() if key in kept} == kept
    assert worker_environment("eth1")["NCCL_SOCKET_IFNAME"] == "ib0"
    monkeypatch.delenv("NCCL_SOCKET_IFNAME")
    assert worker_environment("eth1")["NCCL_SOCKET_IFNAME"] == "=eth1"
    assert not left.keys() & worker_environment().keys()


LOOK = """
import os, sys
from pathlib import Path
from types import SimpleNamespace
from unet3d.cluster.train_worker import TrainJob, train_as_worker
from unet3d.distributed.job_folder import JobFolder
from unet3d.errors import RunError

class Look:
    def find_spec(self, name, path=None, target=None):
        if name == "unet3d.training.run":  # and what that imports
            print(os.environ.get("XLA_FLAGS"), file=sys.stderr)
            sys.exit(7)

sys.meta_path.insert(0, Look())
config = SimpleNamespace(output_dir="outputs")
folder, variables = JobFolder(Path("job")), {"XLA_FLAGS": "--of_the_command"}
train_as_worker(TrainJob(config, folder, Path("/none"), variables, 1, 0), 0, ["a:1"])
"""


def test_a_worker_has_them_before_it_imports_tensorflow() -> None:
    """TensorFlow reads most of them once, when it is imported."""
    done = subprocess.run([sys.executable, "-c", LOOK], capture_output=True, text=True)
    assert (done.returncode, done.stderr.strip()) == (7, "--of_the_command")
