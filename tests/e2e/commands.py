"""Starts the real commands, as a user does."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from tests import REPOSITORY

SMALL = ("experiment=smoke", "validation.overlap=0")


def start(
    folder: Path,
    *overrides: str,
    base: tuple[str, ...] = SMALL,
    program: str = "train.py",
    **environment: str,
) -> subprocess.Popen[str]:
    """`program` with `base` and `overrides` in `folder`, its output in `folder`/output."""
    output = (folder / "output").open("a")
    clean = {key: value for key, value in os.environ.items() if not key.startswith("MLFLOW_")}
    return subprocess.Popen(
        [sys.executable, str(REPOSITORY / program), *base, *overrides],
        cwd=folder,
        env={**clean, "PYTHONPATH": str(REPOSITORY), **environment},
        stdout=output,
        stderr=subprocess.STDOUT,
        text=True,
    )


def run(
    folder: Path,
    *overrides: str,
    base: tuple[str, ...] = SMALL,
    program: str = "train.py",
    **environment: str,
) -> tuple[int, str]:
    """Run to the end; exit code and everything printed by this call."""
    path = folder / "output"
    before = len(path.read_text()) if path.exists() else 0
    process = start(folder, *overrides, base=base, program=program, **environment)
    return process.wait(timeout=540), path.read_text()[before:]


train = run


def wait_for(folder: Path, text: str, process: subprocess.Popen[str]) -> None:
    """Until `text` is in the output; fails with the output when the process ends before."""
    deadline = time.monotonic() + 420
    while text not in (told := (folder / "output").read_text()):
        ended = process.poll() is not None and text not in (folder / "output").read_text()
        assert not ended and time.monotonic() < deadline, told
        time.sleep(0.02)


def only_run(folder: Path) -> Path:
    """The folder of the one run under outputs/."""
    (run,) = (folder / "outputs" / "runs").iterdir()
    return run


@contextmanager
def two_nodes(cpus: int) -> Iterator[Any]:
    """A Ray head without CPUs and two nodes with `cpus` each, as on three machines."""
    from ray.cluster_utils import Cluster

    nodes = Cluster(initialize_head=True, head_node_args={"num_cpus": 0})
    for _ in range(2):
        nodes.add_node(num_cpus=cpus)
    nodes.wait_for_nodes()
    try:
        yield nodes
    finally:
        nodes.shutdown()


def free_port() -> int:
    """A port of this machine that nobody listens on."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]
