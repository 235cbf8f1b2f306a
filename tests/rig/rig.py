"""The rig as tests use it: nodes of a cluster on one machine, and Slurm's commands on them."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from tests import REPOSITORY

SCRIPT = Path(__file__).with_name("cluster.sh")
WAIT_SECONDS = 900  # for the rig of another test file, or of a benchmark
NOT_HERE = 3  # the exit code of a machine without root or the packages


class NoRig(Exception):
    """This machine cannot have one; the message says what is missing."""


@dataclass(frozen=True)
class Rig:
    """A rig that is up."""

    nodes: int

    def on(self, node: str, *command: str) -> list[str]:
        """The command line that runs `command` on a node; "head" is the login node."""
        return [str(SCRIPT), "on", node, *command]

    def run(self, node: str, *command: str, cwd: Path | None = None, timeout: float = 300) -> str:
        """What `command` prints on a node; fails with its output where its exit code is not 0."""
        done = subprocess.run(
            self.on(node, *command),
            cwd=cwd,
            env=environment(),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            timeout=timeout,
        )
        assert done.returncode == 0, f"{' '.join(command)}:\n{done.stdout}"
        return done.stdout

    def cut(self, node: str) -> None:
        """Take a node off the network."""
        _script("cut", node)

    def mend(self, node: str) -> None:
        """Put it back."""
        _script("mend", node)

    def limit(self, mbit: int) -> None:
        """The bandwidth of each node in Mbit/s, in both directions; 0: no limit."""
        for index in range(self.nodes):
            _script("slow", f"n{index + 1}", str(mbit))

    def submit(self, folder: Path, *arguments: str) -> str:
        """`sbatch` in `folder`; the job's id."""
        return self.run("head", "sbatch", "--parsable", *arguments, cwd=folder).strip()

    def state(self, job: str) -> str:
        """A job's state in Slurm's words."""
        return _field(self.run("head", "scontrol", "show", "job", job), "JobState")

    def restarts(self, job: str) -> int:
        """How often a job was queued again."""
        return int(_field(self.run("head", "scontrol", "show", "job", job), "Restarts"))

    def minutes(self, job: str) -> int:
        """Whole minutes for which a job has run."""
        ran = _field(self.run("head", "scontrol", "show", "job", job), "RunTime")
        return int(ran.split(":")[-2])

    def gone(self, node: str, program: str, seconds: float) -> None:
        """Until no process of that name is left on a node."""
        deadline = time.monotonic() + seconds
        while program in (left := self.run(node, "ps", "-eo", "comm")):
            assert time.monotonic() < deadline, left
            time.sleep(1)

    def wait(self, job: str, states: Sequence[str], seconds: float, log: Path) -> str:
        """Until a job is in one of `states`; fails with its log where it is not in time."""
        deadline = time.monotonic() + seconds
        while (state := self.state(job)) not in states:
            said = log.read_text() if log.exists() else ""
            assert time.monotonic() < deadline, f"{state} after {seconds} s:\n{said}"
            time.sleep(1)
        return state


@contextmanager
def rig(nodes: int = 2, slurm: bool = True) -> Iterator[Rig]:
    """A rig for as long as the block runs. Raises NoRig where this machine cannot have one."""
    owner = {"RIG_WAIT": str(WAIT_SECONDS), "RIG_OWNER": str(os.getpid())}
    up = _script("up", str(nodes), SLURM=str(int(slurm)), **owner)
    if up.returncode == NOT_HERE:
        raise NoRig(up.stderr.strip())
    assert up.returncode == 0, up.stderr
    try:
        yield Rig(nodes)
    finally:
        _script("down")


def environment() -> dict[str, str]:
    """Of a user's shell on the cluster: this Python first, this checkout, no settings of a test."""
    kept = {k: v for k, v in os.environ.items() if not k.startswith(("MLFLOW_", "RAY_", "SLURM_"))}
    path = f"{Path(sys.executable).parent}:{os.environ['PATH']}"
    return {**kept, "PATH": path, "PYTHONPATH": str(REPOSITORY)}


def only_run(folder: Path) -> Path:
    """The folder of the one run."""
    (run,) = (folder / "outputs" / "runs").iterdir()
    return run


def epochs(run: Path) -> list[dict]:
    """The records of a run's epochs, from its last checkpoint."""
    from unet3d.run_folder import RunFolder
    from unet3d.training.checkpoint import read_progress

    return list(read_progress(RunFolder(run)).history)


def status(run: Path) -> str:
    """How a run ended, as its folder says."""
    return str(json.loads((run / "state.json").read_text())["status"])


def _field(text: str, name: str) -> str:
    words = (word.partition("=") for word in text.split())
    return next(value for key, _, value in words if key == name)


def _script(*arguments: str, **variables: str) -> subprocess.CompletedProcess[str]:
    # No pipe for what stays behind: its nodes would hold it open.
    return subprocess.run(
        [str(SCRIPT), *arguments],
        env={**os.environ, **variables},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
        timeout=WAIT_SECONDS + 60,
    )
