"""Ray that ends, does not start, or loses the process that started it."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import psutil
import pytest
import ray

from tests import REPOSITORY
from tests.e2e.commands import only_run, start, two_nodes, wait_for
from tests.nifti_files import config as data_config
from tests.small import small_config
from unet3d.cluster import local_ray as module
from unet3d.cluster.local_ray import RayLost, check_ray, local_ray, start_ray_again
from unet3d.cluster.preprocess import preprocess_in_cluster
from unet3d.config.schema import PhantomConfig
from unet3d.distributed.stop import stop_requests
from unet3d.errors import RunError, RunStopped

SETTINGS = {
    "num_cpus": 1,
    "include_dashboard": False,
    "log_to_driver": False,
    "logging_level": 40,
    "object_store_memory": 100 * 2**20,
}
PARTS = ("gcs_server", "raylet")


def part(of: int, name: str) -> psutil.Process:
    """A process of the Ray that process `of` has started."""
    return next(p for p in psutil.Process(of).children() if p.name() == name)


def until(true: Callable[[], bool], seconds: float = 60.0) -> None:
    """Wait for it."""
    deadline = time.monotonic() + seconds
    while not true():
        assert time.monotonic() < deadline
        time.sleep(0.1)


@ray.remote
def process_id() -> int:
    return os.getpid()


@pytest.mark.parametrize("name", PARTS)
def test_a_part_that_ends_is_noticed_and_ray_starts_again(name: str) -> None:
    """Without it, what waits for Ray would wait for minutes; nothing is left at the end."""
    former = signal.getsignal(signal.SIGTERM)
    with local_ray(SETTINGS):
        assert signal.getsignal(signal.SIGTERM) == former
        check_ray()
        part(os.getpid(), name).kill()
        with pytest.raises(RayLost, match=f"Ray's {name} was killed"):
            until(lambda: check_ray() is not None)
        start_ray_again()
        check_ray()
        assert ray.get(process_id.remote()) > 0
        family = psutil.Process().children(recursive=True)
    assert signal.getsignal(signal.SIGTERM) == former
    assert not psutil.wait_procs(family, timeout=10)[1]


def test_nothing_outlives_a_killed_driver(tmp_path: Path) -> None:
    """Ray's agents would stay for a minute."""
    code = (
        "import sys, time; sys.path.insert(0, sys.argv[1]); import ray\n"
        "from tests.faults.test_ray import SETTINGS, local_ray, process_id\n"
        "with local_ray(SETTINGS): ray.get(process_id.remote()); print('up'); time.sleep(600)"
    )
    with subprocess.Popen(
        [sys.executable, "-u", "-c", code, str(REPOSITORY)], stdout=subprocess.PIPE, text=True
    ) as driver:
        assert driver.stdout is not None and driver.stdout.readline() == "up\n"
        family = psutil.Process(driver.pid).children(recursive=True)
        assert len(family) > 5
        driver.kill()
    assert not psutil.wait_procs(family, timeout=20)[1]


@pytest.mark.parametrize("failures", [2, 3])
def test_a_start_that_a_busy_machine_fails_is_tried_again(
    monkeypatch: pytest.MonkeyPatch, failures: int
) -> None:
    """Twice; then one line says so."""
    tried = []

    def init(*_: object, **__: object) -> None:
        tried.append(1)
        if len(tried) <= failures:
            raise Exception("The current node timed out during startup. This\ncould")

    monkeypatch.setattr(ray, "init", init)
    monkeypatch.setattr(module, "PAUSE_SECONDS", 0.0)
    if failures == 2:
        with local_ray(SETTINGS):
            pass
    else:
        with pytest.raises(
            RunError, match=r"did not start .* in 3 attempts \(Exception: The .*\. This\)"
        ):
            local_ray(SETTINGS).__enter__()
    assert len(tried) == 3


def test_sigterm_while_ray_starts() -> None:
    """Ray's own handler would exit with 15."""
    with pytest.raises(RunStopped) as stopped, stop_requests():
        threading.Timer(0.5, os.kill, (os.getpid(), signal.SIGTERM)).start()
        with local_ray(SETTINGS):
            time.sleep(5)
    assert stopped.value.exit_code == 143
    assert not ray.is_initialized()


def test_preprocessing_goes_on_with_a_new_ray(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """All cases are built, and nothing half-built stays."""
    data = data_config(tmp_path, phantom=PhantomConfig(cases=6, shape=[96, 96, 96]))
    config = replace(small_config(tmp_path, "parallel=experiment"), data=data)

    def kill() -> None:
        until(lambda: bool(list(tmp_path.glob("stores/*/cases/*"))))
        part(os.getpid(), "gcs_server").kill()

    thread = threading.Thread(target=kill)
    thread.start()
    store = preprocess_in_cluster(config)
    thread.join()
    assert len(store.cases) == 6 and "Ray is started again, time 1" in caplog.text
    assert not [path for path in store.path.rglob(".*") if "tmp" in path.name]


@pytest.mark.parametrize("kind", ["sweep", "data"])
def test_training_goes_on_with_a_new_ray(tmp_path: Path, kind: str) -> None:
    """A sweep stood at "0 running" for minutes, or ended without a word."""
    small = ("tracking=none", "epochs=8", "steps_per_epoch=8", "batch_size=2")
    if kind == "sweep":
        arguments = ("-m", "experiment=smoke", "validation.overlap=0", *small, "lr=1e-2,1e-3")
        process = start(tmp_path, base=arguments, program="sweep.py")
        until(lambda: bool(list(tmp_path.glob("outputs/sweeps/*/trials/*/epochs"))), 200)
    else:
        process = start(tmp_path, *small, "parallel=data", "nodes=2")
        wait_for(tmp_path, "epoch 1/8", process)
    part(process.pid, "raylet" if kind == "sweep" else "gcs_server").kill()
    code, told = process.wait(timeout=400), (tmp_path / "output").read_text()
    assert code == 0, told
    assert "Ray is started again, time 1 of at most 3" in told and "Traceback" not in told
    if kind == "sweep":
        assert re.search(r"all over: 2 finished", told)
        assert "starts, resumed" in told or "attempt 2" in told
    else:
        assert "epoch 8/8" in told and only_run(tmp_path)


def _ended(run: Path) -> dict[str, Any]:
    return json.loads((run / "state.json").read_text())


@pytest.mark.parametrize("kind", ["sweep", "data"])
def test_a_lost_head_of_another_cluster_is_one_line(tmp_path: Path, kind: str) -> None:
    """Ray would wait a minute, then abort the command. What runs on the nodes saves and resumes."""
    small = ("tracking=none", "epochs=400", "steps_per_epoch=8", "batch_size=2")
    with two_nodes(1) as cluster:
        address = f"parallel.address={cluster.address}"
        if kind == "sweep":
            base = ("-m", "experiment=smoke", "validation.overlap=0")
            process = start(
                tmp_path, *(*small, address, "lr=1e-2,1e-3"), base=base, program="sweep.py"
            )
            until(lambda: bool(list(tmp_path.glob("outputs/sweeps/*/trials/*/epochs"))), 200)
        else:
            process = start(tmp_path, *small, address, "parallel=data", "nodes=2")
            wait_for(tmp_path, "epoch 1/400", process)
        part(os.getpid(), "gcs_server").kill()
        code, told = process.wait(timeout=400), (tmp_path / "output").read_text()
        assert code == 1 and "Traceback" not in told, told
        line = told.splitlines()[-1]
        assert f"the head of the Ray cluster at {cluster.address} does not answer any more" in line
        if kind == "data":
            assert f"; go on with: python train.py resume={only_run(tmp_path).name}" in line
        else:
            assert line.endswith("; the same command resumes the sweep")
        for run in (tmp_path / "outputs" / "runs").iterdir():
            until(lambda run=run: _ended(run)["status"] != "RUNNING", 120)
            assert "all saved" in _ended(run)["reason"], (_ended(run), told)
