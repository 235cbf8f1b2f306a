"""The settings of a trial's run."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from tests.small import small_config
from unet3d.sweep.plan import SweepPlan, run_config
from unet3d.sweep.resources import TrialResources
from unet3d.sweep.trial import Trial


@pytest.mark.parametrize(("gpus", "expected"), [(4, 4), (0, None)])
def test_all_trials_over_nodes_have_as_many_replicas(
    tmp_path: Path, gpus: int, expected: int | None
) -> None:
    """Also those that start after a node with more GPUs has joined, or one less is there."""
    config = small_config(tmp_path, "parallel=data", "nodes=2", "parallel.min_nodes=8")
    trial = Trial(0, (), {}, config)
    unused: Any = None
    plan = SweepPlan(unused, "sweep", [], [trial], 1, unused)
    resources = TrialResources(cpus=3, gpus=gpus, workers_per_trial=2, at_once=4)
    parallel = run_config(trial, plan, resources, None, None).parallel
    assert (parallel.cpus_per_node, parallel.gpus_per_node) == (3, expected)
    assert parallel.min_nodes is None and parallel.wait_for_nodes > 3600
