"""Batches reach their device ahead of the steps, and without end."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import tensorflow as tf

from tests.small import small_config
from unet3d.distributed.worker import SINGLE_WORKER
from unet3d.training import batches
from unet3d.training.batches import ON_DEVICE, on_one_device
from unet3d.training.setup import make_setup


def test_one_device_has_batches_before_they_are_asked_for() -> None:
    """While a step computes, the next batches are read and copied, each once and in order."""
    read: list[int] = []

    def numbers() -> Iterator[int]:
        for number in range(6):
            read.append(number)
            yield number

    dataset = tf.data.Dataset.from_generator(numbers, output_signature=tf.TensorSpec([], tf.int32))
    device = tf.config.list_logical_devices("CPU")[0].name
    iterator = iter(on_one_device(dataset, device))
    found = [next(iterator)]
    deadline = time.monotonic() + 300
    while len(read) < 1 + ON_DEVICE and time.monotonic() < deadline:
        time.sleep(0.01)
    assert len(read) >= 1 + ON_DEVICE
    found += list(iterator)
    assert [int(one) for one in found] == list(range(6))


def test_a_run_on_one_gpu_names_it(monkeypatch: pytest.MonkeyPatch) -> None:
    """The first GPU that is opened, or none: batches are then used where they are."""
    monkeypatch.setattr(tf.config, "list_logical_devices", lambda kind: [])
    assert batches.one_gpu() is None
    dataset = tf.data.Dataset.range(3)
    assert on_one_device(dataset, None) is dataset
    gpus = [tf.config.LogicalDevice("/device:GPU:0", "GPU")]
    monkeypatch.setattr(tf.config, "list_logical_devices", lambda kind: gpus)
    assert batches.one_gpu() == "/device:GPU:0"


def test_input_has_no_end(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Else TensorFlow exchanges before each step which workers have a batch left."""
    given: list[tf.data.Dataset] = []

    def on_one_device(dataset: tf.data.Dataset, device: Any) -> tf.data.Dataset:
        given.append(dataset)
        return dataset

    monkeypatch.setattr(batches, "on_one_device", on_one_device)
    batches.distributed_batches(make_setup(small_config(tmp_path), SINGLE_WORKER), 0)
    assert given[0].cardinality() == tf.data.INFINITE_CARDINALITY
