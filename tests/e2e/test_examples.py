"""The files of examples/ run as they are, with Ray nodes of this one machine."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.e2e.commands import REPOSITORY, SMALL

pytestmark = pytest.mark.stops_ray


def test_machines_example_runs_as_it_is(tmp_path: Path) -> None:
    """examples/ray_start.sh: a head and a second node by `ray start`, a training over both."""
    code, told = run_example(
        tmp_path,
        ["examples/ray_start.sh", "localhost localhost", *SMALL, "tracking=none"],
        RAY_NODE_OPTIONS="--num-cpus=1",
        RAY_PORT="6391",
    )
    assert code == 0, told
    assert "2 replicas on 2 workers" in told and "best val/dice" in told


def test_slurm_example_runs_as_it_is(tmp_path: Path) -> None:
    """examples/slurm.sbatch with a srun and a scontrol for a job of this one machine."""
    programs = tmp_path / "bin"
    programs.mkdir()
    for name, body in (("srun", 'exec "${@:3}"'), ("scontrol", "echo 127.0.0.1")):
        (programs / name).write_text(f"#!/usr/bin/env bash\n{body}\n")
        (programs / name).chmod(0o755)
    code, told = run_example(
        tmp_path,
        ["examples/slurm.sbatch", *SMALL, "tracking=none"],
        PATH=f"{programs}:{Path(sys.executable).parent}:{os.environ['PATH']}",
        SLURM_JOB_NUM_NODES="1",
        SLURM_JOB_NODELIST="here",
        RAY_PORT="6392",
    )
    assert code == 0, told
    assert "best val/dice" in told


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
