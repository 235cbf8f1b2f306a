"""data.patch=auto among several workers, and the memory that a replica is given."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import tensorflow as tf

from tests.small import small_config
from unet3d.config import Config, ConfigError
from unet3d.models import build_model
from unet3d.parallel.memory import RAM_SHARE, machine_memory, replica_memory
from unet3d.parallel.place import ALONE, Place, cores
from unet3d.training import patch as module
from unet3d.training.setup import make_data


def test_workers_of_unequal_memory_choose_the_patch_of_the_poorest(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each worker tells its memory; with the sums that all then have, both choose the same."""
    config = small_config(tmp_path, "data.patch=auto", "batch_size=4")
    store, targets, split = make_data(config)
    model = build_model(config.model, channels=4, outputs=len(targets.names), seed=0)
    told: list[np.ndarray] = []

    def chosen(memory: float, place: Place, total: np.ndarray | None = None) -> list[int]:
        """The patch of a worker with `memory` GB, given the sum over the workers."""

        def add(values: np.ndarray, *_: object) -> np.ndarray:
            told.append(values)
            return values if total is None else total

        monkeypatch.setattr(module, "sum_over_workers", add)
        own = replace(config, data=replace(config.data, patch_memory=memory))
        strategy = tf.distribute.get_strategy()
        resolved: Config = module.resolve_patch(own, store, split, model, strategy, place)[0]
        return resolved.data.patch

    poor, rich = (0.003, Place(rank=0, workers=2)), (0.008, Place(rank=1, workers=2))
    alone = [chosen(memory, ALONE) for memory, _ in (poor, rich)]
    assert np.prod(alone[0]) < np.prod(alone[1])
    told.clear()
    for memory, place in (poor, rich):
        with pytest.raises(ConfigError, match="auto finds none"):  # the other's memory is not there
            chosen(memory, place)
    total = np.sum(told, axis=0)
    assert [chosen(memory, place, total) for memory, place in (poor, rich)] == [alone[0]] * 2


@pytest.mark.skipif(bool(tf.config.list_physical_devices("GPU")), reason="this machine has a GPU")
def test_ram_is_shared_like_the_cores(tmp_path: Path) -> None:
    """Trials and workers beside each other do not each take the whole machine; a limit wins."""
    config = small_config(tmp_path, "data.patch=auto")
    whole = replica_memory(config, ALONE, 1).bytes
    assert whole == RAM_SHARE * machine_memory()
    assert replica_memory(config, ALONE, 2).bytes == whole / 2
    one_core = replica_memory(config, Place(threads=1), 1).bytes
    assert one_core == pytest.approx(whole / cores())
    limited = small_config(tmp_path, "data.patch=auto", "data.patch_memory=3.5")
    assert replica_memory(limited, Place(threads=1), 2).bytes == 3.5e9
