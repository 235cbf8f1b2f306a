"""The cause of a loss reaches the user."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
from ray.exceptions import ActorDiedError, OutOfMemoryError

from unet3d.cluster.failure import (
    LAST_LINES,
    WorkerFailure,
    last_lines,
    shown,
    stderr_in,
    worker_failure,
)
from unet3d.machine import OomWatch


def test_a_worker_that_the_kernel_killed_is_said_to_be_out_of_memory(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Ray sees a process that ended; the control group's counter says why. It is final."""
    (tmp_path / "memory.events").write_text("oom_kill 1\n")
    monkeypatch.setattr("unet3d.machine.CGROUPS", tmp_path)
    monkeypatch.setattr("unet3d.cluster.failure.OOM", OomWatch())
    ended = WorkerFailure("its process was killed or ended by itself")
    assert worker_failure(ActorDiedError()) == ended
    (tmp_path / "memory.events").write_text("oom_kill 2\n")
    killed = worker_failure(ActorDiedError())
    assert killed.final and killed.reason.startswith("out of memory: the kernel has")
    assert "a smaller data.patch or batch_size, or a larger accumulate" in killed.reason
    assert worker_failure(ActorDiedError()) == ended


def test_a_worker_that_ray_killed_for_its_memory_is_final() -> None:
    """Ray's monitor ends a worker before the kernel would."""
    failure = worker_failure(OutOfMemoryError("Task was killed due to the node running low"))
    assert failure.final and failure.reason.startswith("out of memory: its node had none left")


def test_a_lost_node_is_told_from_a_lost_process() -> None:
    """It is no fault of what ran there, and the words are Ray's."""
    error = ActorDiedError()
    error.error_msg = "The actor died because its node has died. Node Id: abc"
    assert worker_failure(error) == WorkerFailure("its node was lost", node_lost=True)
    preempted = ActorDiedError()
    preempted._preempted = True
    assert worker_failure(preempted).node_lost


def test_the_last_lines_of_a_crash_are_kept(tmp_path: Path) -> None:
    """What C and Python write as a process aborts is in the file after its end."""
    code = (
        "import faulthandler, os, sys\n"
        "from pathlib import Path\n"
        "from unet3d.cluster.failure import stderr_in\n"
        "with stderr_in(Path(sys.argv[1])):\n"
        "    for n in range(40): os.write(2, b'line %d\\n' % n)\n"
        "    faulthandler.enable(); os.abort()\n"
    )
    path = tmp_path / "stderr-0"
    ended = subprocess.run([sys.executable, "-c", code, str(path)], capture_output=True)
    assert ended.returncode < 0 and b"line" not in ended.stderr
    lines = last_lines(path)
    assert len(lines) == LAST_LINES and any("Fatal Python error: Aborted" in one for one in lines)
    assert shown(path).startswith("\n  | ") and shown(tmp_path / "none") == ""


def test_stderr_comes_back(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    """Also where the file cannot be written."""
    for path in (tmp_path / "stderr-0", tmp_path / "no folder" / "stderr-0"):
        with stderr_in(path):
            os.write(2, b"inside ")
        os.write(2, b"outside ")
    assert capfd.readouterr().err == "outside inside outside "
    assert last_lines(tmp_path / "stderr-0") == ["inside"]
