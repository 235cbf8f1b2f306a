"""The batches of a worker."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import tensorflow as tf

from tests.small import small_config
from unet3d.distributed.worker import SINGLE_WORKER
from unet3d.training import batches
from unet3d.training.setup import make_setup


def test_input_has_no_end(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Else TensorFlow exchanges before each step which workers have a batch left."""
    given: list[tf.data.Dataset] = []

    def on_one_device(dataset: tf.data.Dataset, device: Any) -> tf.data.Dataset:
        given.append(dataset)
        return dataset

    monkeypatch.setattr(batches, "on_one_device", on_one_device)
    batches.distributed_batches(make_setup(small_config(tmp_path), SINGLE_WORKER), 0)
    assert given[0].cardinality() == tf.data.INFINITE_CARDINALITY
