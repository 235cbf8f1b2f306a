"""Whether a worker takes another trial."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from tests.gpus import PretendedGpus
from tests.small import small_config
from unet3d.distributed.job_folder import JobFolder
from unet3d.sweep.trial_worker import GPU_LEFT, TrialJob, TrialWorker


@pytest.mark.parametrize(("left", "reusable"), [(0, True), (GPU_LEFT - 1, True), (GPU_LEFT, False)])
def test_memory_that_trials_left_on_the_gpu_ends_a_worker(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, left: int, reusable: bool
) -> None:
    """The next trial would lack it; a group's driver has nothing there."""
    PretendedGpus(1, in_use=left).put_in_place(monkeypatch)
    config, folder = small_config(tmp_path), JobFolder(tmp_path)
    job = TrialJob(config, folder, 0, threads=1, workers_per_trial=1, local=True, environment={})
    worker = TrialWorker(os.getcwd(), {})
    assert worker._clear(job) == reusable
    group = TrialJob(config, folder, 0, threads=1, workers_per_trial=2, local=True, environment={})
    assert worker._clear(group)
