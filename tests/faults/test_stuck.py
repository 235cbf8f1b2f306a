"""A worker that lives while its training stands still, and one that ends with a last word."""

from __future__ import annotations

import subprocess
import time
from pathlib import Path

import pytest
from mlflow import MlflowClient

from tests import REPOSITORY
from tests.e2e.commands import SMALL, only_run, start, train, wait_for

# Python imports a sitecustomize at its start. The first process that takes the file `fault` from
# the folder runs what it says in its training thread.
CUSTOM = """
import os, sys, threading, time

def hook():
    while not hasattr(loop := sys.modules.get("unet3d.training.loop"), "_save_and_stop"):
        time.sleep(0.05)
    real = loop.next_batch

    def next_batch(*arguments):
        try:
            os.rename({fault!r}, {taken!r})
        except OSError:
            return real(*arguments)
        exec(open({taken!r}).read())

    loop.next_batch = next_batch

if "default_worker.py" in " ".join(sys.orig_argv):
    threading.Thread(target=hook, daemon=True).start()
"""
HANG = "time.sleep(3600)"  # as in a collective whose peer is gone
CRASH = "os.write(2, b'a word of C++' + bytes([10])); os.abort()"
NO_MEMORY = "import tensorflow as tf; tf.zeros([1 << 45])"  # 128 TB
LONG = ("tracking.system_metrics=false", "steps_per_epoch=4", "batch_size=2")
JOB = ("parallel=data", "nodes=2")


def python_path(folder: Path) -> str:
    """Of processes that may be made to hang."""
    custom = CUSTOM.format(fault=str(folder / "fault"), taken=str(folder / "taken"))
    (folder / "custom").mkdir()
    (folder / "custom" / "sitecustomize.py").write_text(custom)
    return f"{folder / 'custom'}:{REPOSITORY}"


def fault(folder: Path, process: subprocess.Popen[str], code: str = HANG) -> None:
    """Have one worker run it in its training thread."""
    (folder / "taken").unlink(missing_ok=True)
    (folder / "written").write_text(code)
    (folder / "written").rename(folder / "fault")
    deadline = time.monotonic() + 300
    while not (folder / "taken").exists():
        assert process.poll() is None and time.monotonic() < deadline
        time.sleep(0.05)


def wait_for_epoch(folder: Path, process: subprocess.Popen[str]) -> None:
    """Until a trial of a sweep has finished one."""
    deadline = time.monotonic() + 400
    while not list(folder.glob("outputs/sweeps/*/trials/*/epochs")):
        assert process.poll() is None and time.monotonic() < deadline
        time.sleep(0.1)


def statuses(folder: Path) -> set[str]:
    """How the runs of the folder ended, as recorded."""
    store = MlflowClient(f"sqlite:///{folder / 'outputs' / 'mlflow.db'}")
    ids = [experiment.experiment_id for experiment in store.search_experiments()]
    return {run.info.status for run in store.search_runs(ids)}


def test_a_stuck_worker_of_a_job(tmp_path: Path) -> None:
    """It answers all the while, and is noticed; the job goes on from the checkpoint.

    When it is stuck again, a stop ends it by force after stop_timeout: the run is KILLED, with what
    it takes to resume.
    """
    settings = (*LONG, *JOB, "epochs=500", "parallel.step_timeout=40", "parallel.stop_timeout=5")
    process = start(tmp_path, *settings, PYTHONPATH=python_path(tmp_path))
    wait_for(tmp_path, "epoch 1/500", process)
    fault(tmp_path, process)
    wait_for(tmp_path, "resumed after step", process)
    told = (tmp_path / "output").read_text()
    assert " is stuck in a step, at training/" in told and "at training/loop.py:" in told
    assert " run_epoch" in told and "restart 1 of at most 3" in told
    fault(tmp_path, process)
    process.terminate()
    code, told = process.wait(timeout=400), (tmp_path / "output").read_text()
    assert code == 143, told
    run_id = only_run(tmp_path).name
    stopped = told.partition("resumed after step")[2]
    assert "is stuck in " in stopped and "at training/loop.py:" in stopped
    assert "Traceback" not in told
    assert f"meanwhile; go on with: python train.py resume={run_id}" in told
    assert statuses(tmp_path) == {"KILLED"}
    done = len((only_run(tmp_path) / "train.log").read_text().split("/500  ")) - 1
    more = (f"epochs={done + 1}", "parallel=none", "nodes=1")
    code, told = train(tmp_path, f"resume={run_id}", *more, base=())
    assert code == 0 and statuses(tmp_path) == {"FINISHED"}, told


def test_a_stuck_trial_of_a_sweep(tmp_path: Path) -> None:
    """It is noticed and starts again; when it is stuck again a stop ends it, and it is KILLED."""
    process = start(
        tmp_path,
        *(*LONG, "epochs=500", "parallel.step_timeout=40", "parallel.stop_timeout=5"),
        "lr=1e-2,1e-3",
        base=("-m", *SMALL),
        program="sweep.py",
        PYTHONPATH=python_path(tmp_path),
    )
    wait_for_epoch(tmp_path, process)
    fault(tmp_path, process)
    wait_for(tmp_path, "retry 1 of 2", process)
    fault(tmp_path, process)
    process.terminate()
    code, told = process.wait(timeout=400), (tmp_path / "output").read_text()
    assert code == 143, told
    assert "worker of the trial is stuck in a step, at training/loop.py:" in told
    assert "2 stopped; the same command resumes the sweep" in told and "Traceback" not in told
    assert statuses(tmp_path) == {"KILLED"}


@pytest.mark.parametrize("kind", ["job", "sweep"])
def test_a_worker_that_crashes_and_one_without_memory(tmp_path: Path, kind: str) -> None:
    """The last words of a crash are shown, and it is tried again; out of memory is final.

    The words come with Python's stack, as a crash in C++ leaves nothing else. Of the memory one
    line says what to lower.
    """
    process = begin(tmp_path, kind)
    fault(tmp_path, process, CRASH)
    wait_for(tmp_path, "restart 1 of at most 3" if kind == "job" else "retry 1 of 2", process)
    told = (tmp_path / "output").read_text()
    assert "its process was killed or ended by itself" in told
    assert "wrote last:" in told and "  | a word of C++" in told
    assert "  | Fatal Python error: Aborted" in told
    fault(tmp_path, process, NO_MEMORY)
    code, told = process.wait(timeout=400), (tmp_path / "output").read_text()
    assert "out of memory on CPU, with 1 at once of patch" in told, told
    assert told.count("restart ") + told.count("retry ") == 1 and "Traceback" not in told
    assert code == (2 if kind == "job" else 1)
    assert statuses(tmp_path) == ({"FAILED"} if kind == "job" else {"FAILED", "FINISHED"})


def begin(folder: Path, kind: str) -> subprocess.Popen[str]:
    """A job or a sweep of two trials, one epoch of which is done."""
    path, settings = python_path(folder), (*LONG, "epochs=6", "accumulate=2", "batch_size=4")
    if kind == "job":
        process = start(folder, *settings, *JOB, PYTHONPATH=path)
        wait_for(folder, "epoch 1/6", process)
    else:
        several = (*settings, "lr=1e-2,1e-3", "batch_size=2")
        base = ("-m", *SMALL)
        process = start(folder, *several, base=base, program="sweep.py", PYTHONPATH=path)
        wait_for_epoch(folder, process)
    return process
