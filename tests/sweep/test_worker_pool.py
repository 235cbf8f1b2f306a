"""Workers on nodes that join and leave; those that cannot start are an error."""

from __future__ import annotations

import logging
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
import ray
from filelock import FileLock

from tests.clusters import autoscaled, cluster_of
from tests.small import small_config
from unet3d.cluster.ray_cluster import ray_cluster
from unet3d.distributed.job_folder import JobFolder
from unet3d.errors import RunError
from unet3d.sweep import worker_pool
from unet3d.sweep.resources import TrialResources, choose_from_cluster
from unet3d.sweep.trial_worker import TrialJob


@pytest.fixture
def small_ray() -> Iterator[None]:
    """Ray with one CPU."""
    ray.init("local", num_cpus=1, include_dashboard=False, log_to_driver=False)
    yield
    ray.shutdown()


def test_resources_that_no_node_has_are_an_error(
    small_ray: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As when the last node of a cluster is lost: an error says what to look at."""
    monkeypatch.setattr(worker_pool, "START_SECONDS", 1.0)
    resources = TrialResources(cpus=64, gpus=0, workers_per_trial=1, at_once=1)
    pool = worker_pool.WorkerPool(small_config(tmp_path), resources, True, {})
    pool.keep(1)
    with pytest.raises(RunError, match="no worker with 64 CPUs has started in 1 s; `ray status`"):
        for _ in range(20):
            assert pool.wait(0.2) == []


def workers_of(pool: worker_pool.WorkerPool) -> tuple[int, int, int]:
    """How many start, idle and work."""
    return len(pool.starting), len(pool.idle), len(pool.working)


def until(pool: worker_pool.WorkerPool, expected: tuple[int, int, int], trials: int) -> None:
    """Keep workers for `trials` until there are as many as expected."""
    deadline = time.monotonic() + 300
    while workers_of(pool) != expected:
        assert time.monotonic() < deadline, workers_of(pool)
        pool.keep(trials)
        assert pool.wait(0.2) == []


def test_workers_on_nodes_that_join_and_leave(tmp_path: Path) -> None:
    """With all at work some more wait for a node; without trials, idle ones are given back."""
    config = small_config(tmp_path, "parallel=experiment")
    (tmp_path / "trial").mkdir()
    folder = JobFolder(tmp_path / "trial")
    job = TrialJob(config, folder, 0, threads=1, workers_per_trial=1, local=False, environment={})
    with cluster_of((1, 0)) as cluster:
        ray.init(cluster.address, log_to_driver=False)
        try:
            resources, machines = choose_from_cluster(config, local=False)
            assert (resources, machines) == (TrialResources(1, 0, 1, 1), 1)
            pool = worker_pool.WorkerPool(config, resources, False, {})
            until(pool, (0, 1, 0), trials=3)
            with FileLock(folder.lock):  # the trial waits for it, hence works on
                pool.submit(job)
                pool.keep(3)
                assert workers_of(pool) == (2, 0, 1)
                cluster.add_node(num_cpus=1)
                until(pool, (1, 1, 1), trials=3)
                pool.keep(2)  # a trial has ended
                assert workers_of(pool) == (0, 1, 1)
                pool.keep(1)
                assert workers_of(pool) == (0, 0, 1)
                deadline = time.monotonic() + 240
                while ray.available_resources().get("CPU") != 1 and time.monotonic() < deadline:
                    time.sleep(0.1)
                assert ray.available_resources()["CPU"] == 1
        finally:
            ray.shutdown()


def test_an_autoscaler_is_asked_for_the_nodes_of_trials_of_two_workers(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """While one trial works on both nodes that are there and others wait; then no more."""
    monkeypatch.setenv("RAY_AUTH_MODE", "disabled")
    monkeypatch.setattr(worker_pool, "LOOK_SECONDS", 0.2)
    with autoscaled({"CPU": 1}, most=4, variables={}) as address:
        asked = ("parallel=data", "nodes=2", "batch_size=2", "parallel.wait_for_nodes=100")
        config = small_config(tmp_path, *asked, f"parallel.address={address}")
        with ray_cluster(config, "here") as local:
            resources, _machines = choose_from_cluster(config, local)
            assert (resources.workers_per_trial, resources.at_once) == (2, 1)
            pool = worker_pool.WorkerPool(config, resources, local, {})
            until(pool, (0, 1, 0), trials=1)
            taken = ray.util.placement_group(resources.bundles, strategy="STRICT_SPREAD")
            assert taken.wait(60)
            pool.working[taken.ready()] = worker_pool.Work(pool.idle.pop(), None, None)  # type: ignore[arg-type]
            deadline = time.monotonic() + 240
            while pool.room < 2 or pool.demand is not None:
                assert time.monotonic() < deadline, (pool.room, pool.demand)
                pool.keep(2)
                time.sleep(0.1)


class Failed(Exception):
    """As Ray's error of a task, with what was raised there."""

    def __init__(self, cause: Exception):
        super().__init__(str(cause))
        self.cause = cause


def test_a_node_where_no_worker_starts_ends_a_sweep_only_without_others(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """One that joins late is warned of; at the start, an error of the node is final."""
    monkeypatch.setattr(logging.getLogger("unet3d"), "propagate", True)
    resources = TrialResources(cpus=1, gpus=1, workers_per_trial=1, at_once=2)
    pool = worker_pool.WorkerPool(small_config(tmp_path), resources, True, {})
    refused = Failed(RunError("node b was granted a GPU"))
    pool.idle = [object()]
    pool._failed_start(refused)
    pool.keep(2)
    assert "a worker does not start: node b was granted a GPU" in caplog.text
    assert workers_of(pool) == (0, 1, 0)  # not again at once
    pool.idle = []
    with pytest.raises(RunError, match="^node b was granted a GPU$"):
        pool._failed_start(refused)
    pool.failed_starts = 0
    for _ in range(worker_pool.MAX_FAILED_STARTS - 1):
        pool._failed_start(Failed(OSError("a disk")))
    with pytest.raises(RunError, match="workers do not start .a disk"):
        pool._failed_start(Failed(OSError("a disk")))
