"""The parts of a study: which trials on which devices, and what their sweeps are typed with."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.small import small_config
from unet3d import machine
from unet3d.cluster.nodes import Node, gpu_kind
from unet3d.config.schema import ScalingConfig, StudyConfig
from unet3d.errors import ConfigError
from unet3d.scaling.cells import Cell, cell_overrides, divides, plan_cells
from unet3d.scaling.devices import StudyDevices, devices_of_cluster, find_devices

FOUR = StudyDevices("CPUs", 4, 4, "4 cores")


def test_every_mode_trains_the_same_trials(tmp_path: Path) -> None:
    """One device once; data one after another on all devices; hybrid two devices a trial."""
    config = small_config(tmp_path, "batch_size=4")
    settings = ScalingConfig(devices=[4, 1, 2], modes=["experiment", "data", "hybrid"])
    cells = plan_cells(config, settings, FOUR, weak=False)
    assert [(c.mode, c.devices, c.each, c.at_once) for c in cells] == [
        ("experiment", 1, 1, 1),
        ("experiment", 2, 1, 2),
        ("data", 2, 2, 1),
        ("experiment", 4, 1, 4),
        ("data", 4, 4, 1),
        ("hybrid", 4, 2, 2),
    ]
    for cell in cells:
        assert "seed=0,1,2" in cell_overrides(cell, config, settings, FOUR, False, seeds=3)
        own = cell_overrides(cell, config, settings, FOUR, False, seeds=0)
        assert not any(o.startswith("seed=") for o in own)  # a grid has its own trials
    own = cell_overrides(cells[4], config, settings, FOUR, False, seeds=3)
    assert "parallel.devices=4" in own


def test_the_batch_of_a_replica_and_a_share_of_the_epochs(tmp_path: Path) -> None:
    """weak multiplies the batch; fraction rounds epochs up, to one at the least."""
    config = small_config(tmp_path, "batch_size=2", "epochs=30")
    settings = ScalingConfig([1, 4], ["data"], StudyConfig(fraction=0.05))
    cell = plan_cells(config, settings, FOUR, weak=True)[-1]
    own = cell_overrides(cell, config, settings, FOUR, weak=True, seeds=2)
    assert "batch_size=8" in own and "epochs=2" in own
    assert not divides(config, settings) and divides(
        small_config(tmp_path, "batch_size=4"), settings
    )
    settings.scaling.fraction = 0.001
    assert "epochs=1" in cell_overrides(cell, config, settings, FOUR, weak=True, seeds=2)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"modes": ["pipeline"]}, "modes: pipeline is not possible; choose of experiment, data"),
        ({"devices": [1, 64]}, "devices: 64 is more than the 4 CPUs of this machine"),
        ({"devices": []}, "devices: .* is not possible"),
        ({"modes": ["data"]}, "batch_size: 3 cannot be shared by the 2 devices .* batch_size=2"),
    ],
)
def test_what_cannot_be_measured_is_refused_before_any_work(
    tmp_path: Path, changes: dict, message: str
) -> None:
    """In one line that says what is possible."""
    config = small_config(tmp_path, "batch_size=3")
    settings = ScalingConfig(**{"devices": [1, 2], **changes})
    with pytest.raises(ConfigError, match=message):
        plan_cells(config, settings, FOUR, weak=False)


def test_of_a_cluster_without_gpus_the_nodes_are_devices(tmp_path: Path) -> None:
    """A worker on each node of a trial, with the CPUs that every node has; its machine in words."""
    devices = devices_of_cluster([Node("a", 4, 0), Node("b", 2, 0), Node("head", 0, 0)])
    assert (devices.kind, devices.count, devices.cpus) == ("nodes", 2, 2)
    assert "a node with 4 CPUs and 0 GPUs" in devices.machine
    assert devices.device == "a node with 2 CPUs"
    config, settings = small_config(tmp_path, "batch_size=2"), ScalingConfig([1, 2])
    own = cell_overrides(Cell("data", 2, 2, 1, 0), config, settings, devices, False, seeds=2)
    assert {"parallel=data", "nodes=2", "parallel.cpus_per_node=2"} <= set(own)
    own = cell_overrides(Cell("experiment", 2, 1, 2, 0), config, settings, devices, False, seeds=2)
    assert "parallel.cpus_per_trial=2" in own


def test_gpus_of_several_nodes_are_shared_by_whole_nodes(tmp_path: Path) -> None:
    """Eight GPUs of a trial on nodes of four are two workers; six are refused."""
    devices = devices_of_cluster([Node("a", 16, 4), Node("b", 16, 4)])
    assert (devices.kind, devices.count, devices.per_node) == ("GPUs", 8, 4)
    config = small_config(tmp_path, "batch_size=24")
    cell = plan_cells(config, ScalingConfig([8], ["data"]), devices, weak=False)[-1]
    own = cell_overrides(cell, config, ScalingConfig(), devices, False, seeds=2)
    assert {"parallel=data", "nodes=2", "parallel.gpus_per_node=4"} <= set(own)
    with pytest.raises(ConfigError, match="6 for a trial are not whole nodes of 4 GPUs"):
        plan_cells(config, ScalingConfig([6], ["data"]), devices, weak=False)


def test_the_kind_of_gpu_is_known(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Here by the driver; of a cluster by what Ray counts; several kinds with their numbers."""
    gpus = [machine.Gpu(80 * 10**9, (9, 0), name) for name in ("NVIDIA H100", "NVIDIA H100")]
    monkeypatch.setattr(machine, "cuda_driver", lambda: machine.Driver(tuple(gpus)))
    here = find_devices(small_config(tmp_path))
    assert (here.kind, here.count, here.device) == ("GPUs", 2, "NVIDIA H100")
    kind = gpu_kind({"CPU": 8.0, "GPU": 4.0, "accelerator_type:V100": 1.0})
    nodes = [Node("a", 8, 4, gpu=kind), Node("b", 8, 4, gpu=kind), Node("c", 8, 4, gpu="A100")]
    assert devices_of_cluster(nodes).device == "2 V100 and 1 A100"
    assert devices_of_cluster([Node("a", 8, 4)]).device == "GPU" and gpu_kind({"CPU": 8.0}) == ""
