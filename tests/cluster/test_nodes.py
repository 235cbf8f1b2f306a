"""Which nodes serve a job and what its workers get, on real clusters with declared GPUs."""

from __future__ import annotations

import logging
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from ray.cluster_utils import Cluster

from tests.clusters import autoscaled
from tests.small import small_config
from unet3d.cluster.nodes import (
    Node,
    WorkerResources,
    alive_nodes,
    choose_resources,
    reserve_workers,
    serving,
)
from unet3d.cluster.ray_cluster import ray_cluster
from unet3d.config.schema import Config
from unet3d.errors import RunError

HEAD, SMALL, LARGE = Node("head", 8, 0), Node("small", 4, 1), Node("large", 16, 4)


@pytest.mark.parametrize(
    ("cpus", "gpus", "expected"),
    [
        (None, None, [SMALL, LARGE]),
        (None, 0, [HEAD, SMALL, LARGE]),
        (None, 2, [LARGE]),
        (5, None, [LARGE]),
        (5, 0, [HEAD, LARGE]),
    ],
)
def test_nodes_that_serve(cpus: int | None, gpus: int | None, expected: list[Node]) -> None:
    """Where nodes have GPUs, those without do not serve, unless the settings say so."""
    assert serving([HEAD, SMALL, LARGE], cpus, gpus) == expected
    assert serving([HEAD], None, None) == [HEAD]


@pytest.fixture
def lines(monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture) -> Any:
    """What is logged."""
    monkeypatch.setattr(logging.getLogger("unet3d"), "propagate", True)
    caplog.set_level(logging.INFO)
    return caplog


@pytest.fixture(scope="module")
def mixed() -> Iterator[Cluster]:
    """A head with CPUs alone, a node with one GPU and one with four."""
    nodes = Cluster(initialize_head=True, head_node_args={"num_cpus": 2, "num_gpus": 0})
    for cpus, gpus in ((1, 1), (3, 4)):
        nodes.add_node(num_cpus=cpus, num_gpus=gpus)
    nodes.wait_for_nodes()
    try:
        yield nodes
    finally:
        nodes.shutdown()


def job(tmp_path: Path, cluster: Cluster, *overrides: str) -> Config:
    at = ("parallel=data", f"parallel.address={cluster.address}", "batch_size=12")
    return small_config(tmp_path, *at, *overrides)


def test_a_head_without_gpus_does_not_make_it_a_cpu_job(
    tmp_path: Path, mixed: Cluster, lines: Any
) -> None:
    """The poorest of the nodes that serve decides, and the log says what stays unused."""
    config = job(tmp_path, mixed, "nodes=2")
    with ray_cluster(config, "here") as local:
        chosen = choose_resources(config, local, 2)
        assert chosen == WorkerResources(cpus=1, gpus=1, strategy="STRICT_SPREAD", threads=1)
        reserve_workers(config, chosen, 2)  # Ray agrees that there is room
    assert "parallel: 2 workers with 1 CPUs + 1 GPUs each, what " in lines.text
    unused = next(r for r in lines.records if "unused of" in r.getMessage())
    assert unused.levelno == logging.WARNING
    assert "2 CPUs + 3 GPUs" in unused.getMessage() and unused.getMessage().endswith(": 2 CPUs")


def test_one_worker_takes_the_richest_node(tmp_path: Path, mixed: Cluster) -> None:
    """As in an elastic job that goes on with one."""
    config = job(tmp_path, mixed, "nodes=2")
    with ray_cluster(config, "here") as local:
        assert choose_resources(config, local, 1).gpus == 4


def test_nodes_without_gpus_serve_on_request_alone(tmp_path: Path, mixed: Cluster) -> None:
    """In place of a CPU job by accident, an error that says how to ask for one."""
    config = job(tmp_path, mixed, "nodes=3")
    with ray_cluster(config, "here") as local:
        with pytest.raises(RunError) as caught:
            choose_resources(config, local, 3)
        caught.match(
            "^nodes: 3 with 1 CPUs \\+ 1 GPUs each are required .as nodes have GPUs, those"
        )
        caught.match("2 of the cluster's 3 fit .*; add nodes .* type nodes=2, or parallel.gpus_per")
        on_cpus = job(tmp_path, mixed, "nodes=3", "parallel.gpus_per_node=0")
        assert choose_resources(on_cpus, local, 3).gpus == 0


def test_a_job_that_had_gpus_does_not_go_on_without(tmp_path: Path) -> None:
    """Its GPU nodes are lost, and a restart finds CPUs: it waits, then says so."""
    nodes = Cluster(initialize_head=True, head_node_args={"num_cpus": 1, "num_gpus": 0})
    try:
        config = job(tmp_path, nodes, "nodes=2")
        before = WorkerResources(cpus=1, gpus=1, strategy="STRICT_SPREAD", threads=1)
        with ray_cluster(config, "here") as local:
            with pytest.raises(RunError, match="nodes: 1 with 1 CPUs \\+ 1 GPUs each are required"):
                choose_resources(config, local, 1, before)
            assert choose_resources(config, local, 1).gpus == 0
    finally:
        nodes.shutdown()


def test_nodes_that_are_still_joining_are_waited_for(tmp_path: Path, lines: Any) -> None:
    """min_nodes counts those that fit: with the head of CPUs and the first GPU, it is not yet."""
    nodes = Cluster(initialize_head=True, head_node_args={"num_cpus": 4, "num_gpus": 0})
    gpu = {"num_cpus": 1, "num_gpus": 1}
    nodes.add_node(**gpu)
    nodes.wait_for_nodes()
    try:
        settings = ("nodes=2", "parallel.min_nodes=2", "parallel.wait_for_nodes=60")
        config = job(tmp_path, nodes, *settings)
        with ray_cluster(config, "here") as local, ThreadPoolExecutor() as threads:
            chosen = threads.submit(choose_resources, config, local, 2)
            while "waiting for 2 nodes that fit, 1 have joined" not in lines.text:
                time.sleep(0.1)
            nodes.add_node(**gpu)
            resources = chosen.result()
            assert resources.gpus == 1 and len(alive_nodes()) == 3
            reserve_workers(config, resources, 2)  # the demand for nodes holds nothing any more
            many = job(tmp_path, nodes, "nodes=2", "parallel.min_nodes=3")
            with pytest.raises(
                RunError, match="^parallel.min_nodes: 3 with 1 CPUs .*type parallel.min_nodes=2"
            ):
                choose_resources(many, local, 2)
    finally:
        nodes.shutdown()


def test_an_autoscaler_is_asked_for_the_nodes_of_a_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """From a head alone to two nodes with GPUs; the demand ends with the waiting."""
    monkeypatch.setenv("RAY_AUTH_MODE", "disabled")
    with autoscaled({"CPU": 1, "GPU": 2}, most=2, variables={}) as address:
        at = ("parallel=data", "nodes=2", f"parallel.address={address}", "batch_size=4")
        settings = ("parallel.gpus_per_node=1", "parallel.wait_for_nodes=100")
        config = small_config(tmp_path, *at, *settings)
        with ray_cluster(config, "here") as local:
            chosen = choose_resources(config, local, 2)
            assert chosen.bundle == {"CPU": 1, "GPU": 1}
            reserve_workers(config, chosen, 2)
