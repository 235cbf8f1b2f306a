"""The files of examples/ run as they are, with Ray nodes of this one machine."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import psutil

from tests import REPOSITORY
from tests.e2e.commands import SMALL, two_nodes


def test_machines_example_runs_as_it_is(tmp_path: Path) -> None:
    """examples/ray_start.sh: a head and a second node, a training over both, nothing left behind.

    A Ray that runs here stays, and no token is left for the clusters that this home starts later.
    """
    token = Path.home() / ".ray" / "auth_token"
    before = token.exists()
    with two_nodes(cpus=1) as other:
        code, output = run_example(
            tmp_path,
            ["examples/ray_start.sh", "localhost localhost", *SMALL, "tracking=none"],
            RAY_NODE_OPTIONS="--num-cpus=1",
        )
        assert code == 0, output
        assert "2 replicas on 2 workers" in output and "best val/dice" in output
        assert other.head_node.remaining_processes_alive()
    assert token.exists() == before
    left = [
        p.info for p in psutil.process_iter(["cwd", "cmdline"]) if p.info["cwd"] == str(tmp_path)
    ]
    assert not left


def run_example(folder: Path, command: list[str], **environment: str) -> tuple[int, str]:
    """Run a file of examples/ in a folder that has the repository's files."""
    for name in ("examples", "train.py"):
        (folder / name).symlink_to(REPOSITORY / name)
    done = subprocess.run(
        ["bash", *command],
        cwd=folder,
        env={
            **os.environ,
            "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}",
            "PYTHONPATH": str(REPOSITORY),
            **environment,
        },
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=300,
    )
    return done.returncode, done.stdout
