"""What a trial gets of a cluster, and how many fit."""

from __future__ import annotations

import logging
from pathlib import Path

import pytest

from tests.small import small_config
from unet3d.cluster.nodes import Node
from unet3d.errors import RunError
from unet3d.sweep import resources
from unet3d.sweep.resources import TrialResources, choose_trial_resources

CPU_NODE = Node("cpu", 4, 0)
GPU_NODE = Node("gpu", 16, 4)


@pytest.mark.parametrize(
    ("overrides", "nodes", "local", "expected"),
    [
        ([], [CPU_NODE], True, TrialResources(1, 0, 1, 4)),
        (["parallel.cpus_per_trial=2"], [CPU_NODE, CPU_NODE], False, TrialResources(2, 0, 1, 4)),
        (["parallel.trials_at_once=3"], [CPU_NODE], True, TrialResources(1, 0, 1, 3)),
        ([], [GPU_NODE, GPU_NODE], False, TrialResources(4, 1, 1, 8)),
        (["parallel.gpus_per_trial=0.5"], [GPU_NODE], True, TrialResources(2, 0.5, 1, 8)),
        (["parallel.gpus_per_trial=0.4"], [GPU_NODE], True, TrialResources(1, 0.4, 1, 8)),
        (["parallel.gpus_per_trial=2"], [GPU_NODE], True, TrialResources(8, 2, 1, 2)),
        (["parallel.gpus_per_trial=0"], [GPU_NODE], True, TrialResources(1, 0, 1, 16)),
        (["parallel=data", "parallel.devices=2"], [GPU_NODE], True, TrialResources(8, 2, 1, 2)),
        ([], [CPU_NODE, GPU_NODE], False, TrialResources(4, 1, 1, 4)),
    ],
)
def test_resources_and_number_at_once(
    tmp_path: Path, overrides: list[str], nodes: list, local: bool, expected: TrialResources
) -> None:
    """Fractions of a GPU are of one device; CPUs are shared out beside the GPUs."""
    config = small_config(tmp_path, "parallel=experiment", "batch_size=4", *overrides)
    assert choose_trial_resources(config, nodes, local) == expected


@pytest.mark.parametrize(
    ("overrides", "nodes", "local", "at_once"),
    [
        (["nodes=2"], [CPU_NODE], True, 2),
        (["nodes=8"], [CPU_NODE], True, 1),  # workers on one machine may share a core
        (["nodes=2"], [CPU_NODE] * 2, False, 1),  # whole nodes
        (["nodes=2", "parallel.cpus_per_node=1"], [CPU_NODE] * 2, False, 4),
        (["nodes=2", "parallel.cpus_per_node=3"], [CPU_NODE] * 4, False, 2),
        (["nodes=3", "parallel.cpus_per_node=2"], [CPU_NODE] * 4, False, 2),
        # One large node does not help: the workers of a trial are on different nodes.
        (["nodes=2", "parallel.cpus_per_node=1"], [CPU_NODE, Node("large", 64, 0)], False, 4),
        (["nodes=2", "parallel.gpus_per_node=2"], [GPU_NODE] * 2, False, 1),
        # A head without GPUs does not make it a CPU job, nor does it serve.
        (["nodes=2"], [CPU_NODE, *[GPU_NODE] * 2], False, 1),
        (["nodes=2", "parallel.gpus_per_node=1"], [CPU_NODE, *[GPU_NODE] * 2], False, 1),
        (["nodes=2", "parallel.gpus_per_node=0"], [CPU_NODE, *[GPU_NODE] * 2], False, 1),
    ],
)
def test_worker_groups_that_fit_at_once(
    tmp_path: Path, overrides: list[str], nodes: list, local: bool, at_once: int
) -> None:
    """Only as many trials start as can have all their workers."""
    config = small_config(tmp_path, "parallel=data", "batch_size=24", *overrides)
    assert choose_trial_resources(config, nodes, local).at_once == at_once


@pytest.mark.parametrize(
    ("overrides", "nodes", "expected"),
    [
        ([], [CPU_NODE], ""),
        ([], [CPU_NODE, GPU_NODE], "unused of cpu: 4 CPUs"),
        ([], [GPU_NODE], ""),
        (["parallel.gpus_per_trial=0"], [CPU_NODE, GPU_NODE], ""),
        (["parallel.gpus_per_trial=3"], [GPU_NODE], "unused of gpu: 1 GPUs"),
        (["parallel.gpus_per_trial=0.4"], [GPU_NODE], "unused of gpu: 0.8 GPUs"),
        (["parallel.gpus_per_trial=2"], [GPU_NODE], "a trial computes on one of its 2 GPUs; with"),
        (["parallel=data"], [GPU_NODE, Node("small", 4, 2)], "unused of small: 4 CPUs + 2 GPUs"),
    ],
)
def test_what_stays_unused_is_told(
    tmp_path: Path,
    caplog: pytest.LogCaptureFixture,
    monkeypatch: pytest.MonkeyPatch,
    overrides: list[str],
    nodes: list[Node],
    expected: str,
) -> None:
    """The choice is for the nodes that serve; the rest is not lost in silence."""
    monkeypatch.setattr(logging.getLogger("unet3d"), "propagate", True)
    caplog.set_level(logging.INFO)
    monkeypatch.setattr(resources, "alive_nodes", lambda: nodes)
    config = small_config(tmp_path, "parallel=experiment", "batch_size=4", *overrides)
    resources.choose_from_cluster(config, True)
    assert expected in caplog.text if expected else not caplog.text


def test_what_does_not_fit_is_an_error(tmp_path: Path) -> None:
    """It names what a trial needs, what the cluster has, and which setting to change."""
    config = small_config(tmp_path, "parallel=experiment", "parallel.cpus_per_trial=8")
    with pytest.raises(RunError, match="8 CPUs and 0 GPUs, and no node has that: cpu: 4 CPUs;"):
        choose_trial_resources(config, [CPU_NODE], True)
    config = small_config(tmp_path, "parallel=data", "nodes=3", "batch_size=3")
    with pytest.raises(RunError, match="nodes: a trial asks for 3 workers"):
        choose_trial_resources(config, [CPU_NODE] * 2, False)
