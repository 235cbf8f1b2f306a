"""data.patch=auto among several workers, and the memory that a replica is given."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import tensorflow as tf

from tests.gpus import PretendedGpus, driver_of
from tests.small import small_config
from unet3d import machine
from unet3d.config.schema import Config
from unet3d.distributed.worker import SINGLE_WORKER, WorkerContext
from unet3d.errors import ConfigError
from unet3d.machine import cores, machine_memory
from unet3d.models import build_model
from unet3d.planning import patch as module
from unet3d.planning.memory import GPU_SHARE, RAM_SHARE, replica_memory
from unet3d.training.setup import make_data


def test_workers_of_unequal_memory_choose_the_patch_of_the_poorest(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each worker tells its memory; with the sums that all then have, both choose the same."""
    config = small_config(tmp_path, "data.patch=auto", "batch_size=4")
    store, targets, record = make_data(config)
    split = record.split
    model = build_model(config.model, channels=4, outputs=len(targets.names), seed=0)
    sent: list[np.ndarray] = []

    def chosen(memory: float, worker: WorkerContext, total: np.ndarray | None = None) -> list[int]:
        """The patch of a worker with `memory` GB, given the sum over the workers."""

        def add(values: np.ndarray, *_: object) -> np.ndarray:
            sent.append(values)
            return values if total is None else total

        monkeypatch.setattr(module, "sum_over_workers", add)
        own = replace(config, data=replace(config.data, patch_memory=memory))
        strategy = tf.distribute.get_strategy()
        resolved: Config = module.resolve_patch(own, store, split, model, strategy, worker)[0]
        return resolved.data.patch

    poor, rich = (
        (0.003, WorkerContext(rank=0, workers=2)),
        (0.008, WorkerContext(rank=1, workers=2)),
    )
    alone = [chosen(memory, SINGLE_WORKER) for memory, _ in (poor, rich)]
    assert np.prod(alone[0]) < np.prod(alone[1])
    sent.clear()
    for memory, worker in (poor, rich):
        with pytest.raises(ConfigError, match="auto finds none"):  # the other's memory is not there
            chosen(memory, worker)
    total = np.sum(sent, axis=0)
    assert [chosen(memory, worker, total) for memory, worker in (poor, rich)] == [alone[0]] * 2


@pytest.mark.skipif(bool(tf.config.list_physical_devices("GPU")), reason="this machine has a GPU")
def test_ram_is_shared_like_the_cores(tmp_path: Path) -> None:
    """Trials and workers beside each other do not each take the whole machine; a limit wins."""
    config = small_config(tmp_path, "data.patch=auto")
    whole = replica_memory(config, SINGLE_WORKER, 1).bytes
    assert whole == RAM_SHARE * machine_memory()
    assert replica_memory(config, SINGLE_WORKER, 2).bytes == whole / 2
    one_core = replica_memory(config, WorkerContext(threads=1), 1).bytes
    assert one_core == pytest.approx(whole / cores())
    limited = small_config(tmp_path, "data.patch=auto", "data.patch_memory=3.5")
    assert replica_memory(limited, WorkerContext(threads=1), 2).bytes == 3.5e9


def test_trials_on_one_gpu_plan_for_their_share(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Half a GPU has half the memory; a run alone plans for the GPU that it opens."""
    PretendedGpus(2, driver_of((40.0, (8, 0)), (20.0, (8, 0)))).put_in_place(monkeypatch)
    half = small_config(tmp_path, "parallel=experiment", "parallel.gpus_per_trial=0.5")
    memory = replica_memory(half, SINGLE_WORKER, 1)
    assert memory.bytes == pytest.approx(10e9 * GPU_SHARE)
    assert memory.origin == "75% of a share of 0.5 of a GPU of 20.0 GB"
    machine.open_gpus(["GPU:0"])
    assert replica_memory(small_config(tmp_path), SINGLE_WORKER, 1).bytes == 40e9 * GPU_SHARE
