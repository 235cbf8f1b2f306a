"""What a trial gets of a cluster, and how many fit."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.small import small_config
from unet3d.sweep.share import Share, make_share
from unet3d.training.errors import RunError

CPU_NODE = {"CPU": 4.0, "GPU": 0.0}
GPU_NODE = {"CPU": 16.0, "GPU": 4.0}


@pytest.mark.parametrize(
    ("overrides", "nodes", "local", "share"),
    [
        ([], [CPU_NODE], True, Share(1, 0, 1, 4)),
        (["parallel.cpus_per_trial=2"], [CPU_NODE, CPU_NODE], False, Share(2, 0, 1, 4)),
        (["parallel.trials_at_once=3"], [CPU_NODE], True, Share(1, 0, 1, 3)),
        ([], [GPU_NODE, GPU_NODE], False, Share(4, 1, 1, 8)),
        (["parallel.gpus_per_trial=0.5"], [GPU_NODE], True, Share(2, 0.5, 1, 8)),
        (["parallel.gpus_per_trial=0.4"], [GPU_NODE], True, Share(1, 0.4, 1, 8)),
        (["parallel.gpus_per_trial=2"], [GPU_NODE], True, Share(8, 2, 1, 2)),
        (["parallel.gpus_per_trial=0"], [GPU_NODE], True, Share(1, 0, 1, 16)),
        (["parallel=data", "parallel.devices=2"], [GPU_NODE], True, Share(8, 2, 1, 2)),
        ([], [CPU_NODE, GPU_NODE], False, Share(4, 1, 1, 4)),
    ],
)
def test_share_and_number_at_once(
    tmp_path: Path, overrides: list[str], nodes: list, local: bool, share: Share
) -> None:
    """Fractions of a GPU are of one device; CPUs are shared out beside the GPUs."""
    config = small_config(tmp_path, "parallel=experiment", "batch_size=4", *overrides)
    assert make_share(config, nodes, local) == share


@pytest.mark.parametrize(
    ("overrides", "nodes", "local", "at_once"),
    [
        (["nodes=2"], [CPU_NODE], True, 2),
        (["nodes=8"], [CPU_NODE], True, 1),  # workers on one machine may share a core
        (["nodes=2"], [CPU_NODE] * 2, False, 1),  # whole nodes
        (["nodes=2", "parallel.cpus_per_node=1"], [CPU_NODE] * 2, False, 4),
        (["nodes=2", "parallel.cpus_per_node=3"], [CPU_NODE] * 4, False, 2),
        (["nodes=3", "parallel.cpus_per_node=2"], [CPU_NODE] * 4, False, 2),
        # One large node does not help: the workers of a gang are on different nodes.
        (["nodes=2", "parallel.cpus_per_node=1"], [CPU_NODE, {"CPU": 64.0, "GPU": 0.0}], False, 4),
        (["nodes=2", "parallel.gpus_per_node=2"], [GPU_NODE] * 2, False, 1),
    ],
)
def test_gangs_that_fit_at_once(
    tmp_path: Path, overrides: list[str], nodes: list, local: bool, at_once: int
) -> None:
    """Only as many trials start as can have all their workers."""
    config = small_config(tmp_path, "parallel=data", "batch_size=24", *overrides)
    assert make_share(config, nodes, local).at_once == at_once


def test_what_does_not_fit_is_told(tmp_path: Path) -> None:
    """What is asked, what is there, and which setting to change."""
    config = small_config(tmp_path, "parallel=experiment", "parallel.cpus_per_trial=8")
    with pytest.raises(RunError, match="asks for 8 CPUs and 0 GPUs, and no node has that: 4 CPUs"):
        make_share(config, [CPU_NODE], True)
    config = small_config(tmp_path, "parallel=data", "nodes=3", "batch_size=3")
    with pytest.raises(RunError, match="nodes: a trial asks for 3 workers"):
        make_share(config, [CPU_NODE] * 2, False)
