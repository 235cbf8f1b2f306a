"""GPUs that Ray grants to workers and trials: refused where they cannot be used, hidden, shared."""

from __future__ import annotations

import socket
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from tests.clusters import autoscaled, cluster_of
from tests.e2e.commands import SMALL, run, train
from tests.gpus import pretending
from unet3d import machine
from unet3d.distributed.gpus import LIMIT_SHARE

SWEEP: Any = {"program": "sweep.py", "base": ("-m", *SMALL)}
HERE = socket.gethostname()
pytestmark = pytest.mark.skipif(
    bool(machine.nvidia_cards() or machine.cuda_driver().gpus), reason="this machine has a GPU"
)


@pytest.fixture(autouse=True)
def variables(monkeypatch: pytest.MonkeyPatch) -> None:
    """None that grant GPUs."""
    for name in ("CUDA_VISIBLE_DEVICES", "SLURM_STEP_GPUS", "SLURM_JOB_GPUS", "SLURM_GPUS_ON_NODE"):
        monkeypatch.delenv(name, raising=False)


def opened(folder: Path) -> Counter[str]:
    """What the workers have opened: CUDA_VISIBLE_DEVICES, how many, limit of memory."""
    path = folder / "opened"
    found = Counter(path.read_text().splitlines())
    path.unlink()
    return found


def test_workers_whose_gpus_cannot_be_used_end_the_run(tmp_path: Path) -> None:
    """Ray has granted them as declared; the machine has none. No run is made."""
    with cluster_of((1, 1), (1, 1)) as cluster:
        settings = ("parallel=data", "nodes=2", "batch_size=2", "tracking=none")
        code, told = train(tmp_path, *settings, f"parallel.address={cluster.address}")
    assert code == 2, told
    last = told.splitlines()[-1]
    assert f"error: parallel: node {HERE} was granted a GPU (CUDA_VISIBLE_DEVICES=0), and" in last
    assert last.endswith("or type parallel.gpus_per_node=0 to train on the CPU"), told
    assert not (tmp_path / "outputs" / "runs").exists()


def test_trials_whose_gpus_cannot_be_used_end_the_sweep(tmp_path: Path) -> None:
    """Before any trial, in one line."""
    settings = ("lr=1e-3,1e-2", "tracking=none", "+hydra.launcher.ray.init.num_gpus=2")
    code, told = run(tmp_path, *settings, **SWEEP)
    assert code == 2, told
    last = told.splitlines()[-1]
    assert f"error: parallel: node {HERE} was granted a GPU (CUDA_VISIBLE_DEVICES=" in last
    assert last.endswith("or type parallel.gpus_per_trial=0 to train on the CPU"), told
    assert "starts" not in told and not (tmp_path / "outputs" / "runs").exists()


def test_gpus_that_ray_does_not_count_end_the_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Slurm has granted some, and Ray was started without: it does not become a CPU job."""
    monkeypatch.setenv("SLURM_JOB_GPUS", "0,1")  # of the nodes' processes, too
    with cluster_of((1, 0), (1, 0)) as cluster:
        settings = ("parallel=data", "nodes=2", "batch_size=2", "tracking=none")
        code, told = train(tmp_path, *settings, f"parallel.address={cluster.address}")
        assert code == 2, told
        assert "was granted 2 GPUs (SLURM_JOB_GPUS=0,1), and Ray counts none there; start" in told


def test_ray_on_this_machine_has_the_gpus_that_the_driver_shows(tmp_path: Path) -> None:
    """Four, hence two for each of two workers; Ray itself would ask NVML."""
    settings = ("parallel=data", "nodes=2", "batch_size=4", "tracking=none")
    code, told = train(tmp_path, *settings, **pretending(tmp_path))
    assert code == 0, told
    assert opened(tmp_path) == {"0,1 2 None": 1, "2,3 2 None": 1}


def test_workers_get_the_gpus_of_the_nodes_that_serve(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Two of each of two nodes, beside a head without any; with gpus_per_node=0 they see none."""
    pretended = pretending(tmp_path)
    for name, value in pretended.items():
        monkeypatch.setenv(name, value)  # of the nodes' processes, too
    with cluster_of((1, 2), (1, 2)) as cluster:
        settings = ("parallel=data", "nodes=2", "batch_size=4", "tracking=none")
        at = f"parallel.address={cluster.address}"
        code, told = train(tmp_path, *settings, at, **pretended)
        assert code == 0 and "parallel: 2 workers with 1 CPUs + 2 GPUs each" in told, told
        assert opened(tmp_path) == {"0,1 2 None": 2}
        code, told = train(tmp_path, *settings, at, "parallel.gpus_per_node=0", **pretended)
        assert code == 0, told
        assert opened(tmp_path) == {" 0 None": 2}


def test_two_trials_on_one_gpu_have_half_of_its_memory_each(tmp_path: Path) -> None:
    """As a limit, so that neither takes what is the other's."""
    settings = ("lr=1e-3,1e-2", "tracking=none", "parallel.gpus_per_trial=0.5")
    own = ("+hydra.launcher.ray.init.num_gpus=1", "parallel.cpus_per_trial=1")
    code, told = run(tmp_path, *settings, *own, **SWEEP, **pretending(tmp_path))
    assert code == 0 and "each on 1 CPUs + 0.5 GPUs, 2 at once" in told, told
    limits = opened(tmp_path)
    (one,) = limits
    visible, count, limit = one.split()
    assert (visible, count, limits[one]) == ("0", "1", 2)
    assert float(limit) == pytest.approx(1e10 / 2 * LIMIT_SHARE)


def test_a_sweep_gets_its_nodes_from_an_autoscaler(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """From a head alone: the first node for the first trial, a second as that one works."""
    pretended = pretending(tmp_path)
    monkeypatch.setenv("RAY_AUTH_MODE", "disabled")
    with autoscaled({"CPU": 1, "GPU": 1}, most=2, variables=pretended) as address:
        settings = ("lr=1e-3,1e-2,2e-3", "tracking=none", "epochs=12")
        asked = ("parallel.gpus_per_trial=1", "parallel.wait_for_nodes=100")
        at = f"parallel.address={address}"
        code, told = run(tmp_path, *settings, *asked, at, **SWEEP, **pretended)
    assert code == 0 and "parallel: waiting for 1 nodes that fit, 0 have joined" in told, told
    assert "parallel: there is room for 2 trials at once now" in told, told
    assert opened(tmp_path) == {"0 1 None": 3}
