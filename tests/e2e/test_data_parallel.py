"""`parallel=data`: n workers compute what one computes, and survive the loss of one."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import psutil
import pytest
from mlflow import MlflowClient

from tests.e2e.commands import only_run, start, train, two_nodes, wait_for
from tests.processes import running_below

# Adam divides by the gradient's size. That of a bias in front of a norm is rounding noise alone, of
# which the default epsilon of 1e-7 makes steps of full length, to which the result is indifferent.
COMMON = (
    *("model.norm=sync_batch", "batch_size=4", "augment=full", "optimizer.epsilon=1e-4"),
    *("optimizer.clip_norm=10", "optimizer.ema=0.9", "tracking.system_metrics=false"),
)
EIGHT_STEPS = (
    *(*COMMON, "augment.intensity_on=device"),
    *("steps_per_epoch=1", "epochs=8", "val_every=8"),
)
TWO_EPOCHS = (*COMMON, "steps_per_epoch=25", "epochs=2")
# Rounding grows. After 120 steps a run alone with one thread is 5e-3 away from itself with two, in
# moving statistics of up to 10; two workers are up to 1.6e-2 away.
LONG = 3e-2
TWO_WORKERS = ("parallel=data", "nodes=2", "parallel.hang_timeout=30")


def trained(folder: Path) -> tuple[dict[str, np.ndarray], list[dict[str, float]]]:
    """The variables of the last checkpoint, and the metrics of each epoch."""
    with np.load(only_run(folder) / "checkpoints" / "last.npz") as file:
        arrays = {name: file[name] for name in file.files}
    history = json.loads(arrays.pop("progress").tobytes().decode())["history"]
    return arrays, [record["metrics"] for record in history]


def assert_equal_training(folder: Path, reference: Path, weights: float = 1e-3) -> None:
    """Losses of all epochs to 1e-4, validation to 1e-3, and the network's variables."""
    (ours, our_epochs), (theirs, their_epochs) = trained(folder), trained(reference)
    losses = [[epoch["train/loss"] for epoch in epochs] for epochs in (our_epochs, their_epochs)]
    np.testing.assert_allclose(losses[0], losses[1], rtol=0, atol=1e-4)
    for name in theirs:
        if name.startswith("model/"):
            np.testing.assert_allclose(ours[name], theirs[name], rtol=0, atol=weights, err_msg=name)
    for name in ("val/dice", "val/loss", "val/dice_whole_tumour"):
        assert our_epochs[-1][name] == pytest.approx(their_epochs[-1][name], abs=1e-3), name


def run_alone(tmp_path_factory: pytest.TempPathFactory, settings: tuple[str, ...]) -> Path:
    folder = tmp_path_factory.mktemp("alone")
    code, told = train(folder, *settings)
    assert code == 0, told
    return folder


@pytest.fixture(scope="module")
def eight_steps(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """8 epochs of one step each, so that the history holds the loss of every step."""
    return run_alone(tmp_path_factory, EIGHT_STEPS)


@pytest.fixture(scope="module")
def two_epochs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An undisturbed run, for those that lose a worker."""
    return run_alone(tmp_path_factory, TWO_EPOCHS)


def client(folder: Path) -> MlflowClient:
    return MlflowClient(f"sqlite:///{folder / 'outputs' / 'mlflow.db'}")


def train_processes(driver: int) -> list[psutil.Process]:
    """The two workers of a job, the chief first: it is the one that writes train.log."""
    found = running_below(driver, "GroupWorker")
    newest = sorted(found, key=psutil.Process.create_time)[-2:]  # a former attempt's may still end
    return sorted(newest, key=lambda p: not any("train.log" in f.path for f in p.open_files()))


@pytest.mark.parametrize(
    "parallel",
    [
        ("parallel=data", "parallel.devices=2"),
        ("parallel=data", "nodes=4"),  # two workers: in the tests of lost workers
    ],
    ids=["2 devices", "4 workers"],
)
def test_replicas_compute_what_one_computes(
    tmp_path: Path, eight_steps: Path, parallel: tuple[str, ...]
) -> None:
    """Same seed and global batch, augmentation on: 8 steps, their weights, the validation."""
    code, told = train(tmp_path, *EIGHT_STEPS, *parallel)
    assert code == 0, told
    assert "Traceback" not in told
    assert_equal_training(tmp_path, eight_steps)
    run = client(tmp_path).get_run(only_run(tmp_path).name)
    replicas = parallel[-1].partition("=")[2]
    assert run.info.status == "FINISHED"
    assert run.data.tags["parallel.world_size"] == replicas
    assert {"perf/allreduce_pct", "perf/patches_per_s_replica"} <= run.data.metrics.keys()
    assert len(run.data.tags["parallel.placement"].split(", ")) == int(
        run.data.tags["parallel.workers"]
    )
    assert not list((tmp_path / "outputs" / ".jobs").glob("*"))


def test_a_lost_worker_costs_nothing(tmp_path: Path, two_epochs: Path) -> None:
    """The job goes on by itself, in the same run, with equal results.

    The chief is killed in the first epoch, before any checkpoint; in the second the other worker
    hangs.
    """
    process = start(tmp_path, *TWO_EPOCHS, *TWO_WORKERS)
    for told, rank, fault in (
        ("2 replicas on 2 workers", 0, signal.SIGKILL),
        ("epoch 1/2", 1, signal.SIGSTOP),
    ):
        wait_for(tmp_path, told, process)
        time.sleep(0.5)
        train_processes(process.pid)[rank].send_signal(fault)
    assert process.wait(timeout=400) == 0, (tmp_path / "output").read_text()
    told = (tmp_path / "output").read_text()
    assert "its process was killed or ended by itself" in told
    assert "worker 1 does not answer" in told
    assert told.count("restart 1 of at most 3") == 2 and "Traceback" not in told
    assert_equal_training(tmp_path, two_epochs, LONG)
    store, run_id = client(tmp_path), only_run(tmp_path).name
    run = store.get_run(run_id)
    assert run.info.status == "FINISHED" and run.data.tags["parallel.restarts"] == "2"
    steps = [entry.step for entry in store.get_metric_history(run_id, "val/dice")]
    assert sorted(steps) == [1, 2]


def test_ctrl_c_saves_and_leaves_no_process(tmp_path: Path, two_epochs: Path) -> None:
    """The run is KILLED with the command that goes on; alone, it goes on to equal results."""
    process = start(tmp_path, *TWO_EPOCHS, *TWO_WORKERS)
    wait_for(tmp_path, "epoch 1/2", process)
    family = psutil.Process(process.pid).children(recursive=True)
    assert len(family) > 3
    process.send_signal(signal.SIGINT)
    assert process.wait(timeout=400) == 128 + signal.SIGINT
    told, run_id = (tmp_path / "output").read_text(), only_run(tmp_path).name
    assert f"go on with: python train.py resume={run_id}" in told
    _, alive = psutil.wait_procs(family, timeout=20)
    assert not alive
    assert client(tmp_path).get_run(run_id).info.status == "KILLED"
    code, told = train(tmp_path, f"resume={run_id}", "parallel=none", "nodes=1", base=())
    assert code == 0, told
    assert_equal_training(tmp_path, two_epochs, LONG)


@pytest.fixture
def cluster() -> Iterator[Any]:
    """A Ray head without CPUs and two nodes with one each, as on three machines."""
    with two_nodes(1) as nodes:
        yield nodes


def node_without_driver(cluster: Any) -> Any:
    """A node that a process on this machine does not connect through: that one may be lost."""
    code = (
        "import ray, sys; ray.init(sys.argv[1], log_to_driver=False); "
        "print(ray.get_runtime_context().get_node_id())"
    )
    told = subprocess.run(
        [sys.executable, "-c", code, cluster.address], capture_output=True, text=True, check=True
    )
    used = told.stdout.split()[-1]
    return next(node for node in cluster.worker_nodes if node.node_id != used)


def test_cluster_too_small_and_a_node_lost(tmp_path: Path, two_epochs: Path, cluster: Any) -> None:
    """Too few nodes is one line; with parallel.elastic a run goes on with the nodes left."""
    address = f"parallel.address={cluster.address}"
    code, told = train(tmp_path, *COMMON, "batch_size=6", "parallel=data", "nodes=3", address)
    assert code == 2
    assert "error: nodes: 3 with 1 CPUs each are required, 2 of the cluster's 3 fit" in told
    assert "type nodes=2" in told and "Traceback" not in told
    assert not (tmp_path / "outputs" / "runs").exists()
    lost = node_without_driver(cluster)
    process = start(tmp_path, *TWO_EPOCHS, *TWO_WORKERS, address, "parallel.elastic=true")
    wait_for(tmp_path, "epoch 1/2", process)
    cluster.remove_node(lost, allow_graceful=False)
    assert process.wait(timeout=400) == 0, (tmp_path / "output").read_text()
    assert "continuing with 1 of 2 workers" in (tmp_path / "output").read_text()
    assert_equal_training(tmp_path, two_epochs, LONG)


def test_xla_on_each_replica_changes_rounding_only(tmp_path: Path) -> None:
    """What two replicas compute between their exchanges is compiled; the tag tells it."""
    settings = ("model.norm=group", "batch_size=2", "steps_per_epoch=4", "optimizer.epsilon=1e-4")
    for xla in ("off", "on"):
        (tmp_path / xla).mkdir()
        devices = ("parallel=data", "parallel.devices=2", f"xla={xla}")
        code, told = train(tmp_path / xla, *settings, *devices)
        assert code == 0 and f"xla {xla}, deterministic off" in told, told
    assert_equal_training(tmp_path / "on", tmp_path / "off")
