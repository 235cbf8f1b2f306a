"""Checkpoints: whole or not at all, and never of another network."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import tensorflow as tf

from unet3d.training.checkpoint import Progress, load_checkpoint, save_checkpoint
from unet3d.training.errors import RunError


def variables() -> dict[str, tf.Variable]:
    return {"model/0": tf.Variable([1.0, 2.0]), "optimizer/0": tf.Variable(7, dtype=tf.int64)}


def test_round_trip(tmp_path: Path) -> None:
    """Values, dtypes and progress come back; nothing temporary is left."""
    path = tmp_path / "last.npz"
    progress = Progress(step=5, best=0.5, history=[{"epoch": 1, "time": 3, "metrics": {"a": 1.0}}])
    save_checkpoint(path, variables(), progress)
    fresh = {name: tf.Variable(tf.zeros_like(v)) for name, v in variables().items()}
    assert load_checkpoint(path, fresh) == progress
    for name, variable in variables().items():
        np.testing.assert_array_equal(fresh[name].numpy(), variable.numpy())
    assert [file.name for file in tmp_path.iterdir()] == ["last.npz"]


def test_missing_damaged_and_foreign_checkpoints_are_named(tmp_path: Path) -> None:
    """Each is one error with the path; the variables stay as they were."""
    path = tmp_path / "last.npz"
    with pytest.raises(RunError, match=r"last\.npz: there is no checkpoint"):
        load_checkpoint(path, variables())
    save_checkpoint(path, variables(), Progress())
    other = {"model/0": tf.Variable([0.0, 0.0])}
    with pytest.raises(RunError, match="another network or optimizer"):
        load_checkpoint(path, other)
    larger = variables() | {"model/0": tf.Variable([0.0, 0.0, 0.0])}
    with pytest.raises(RunError, match="model/0 has shape"):
        load_checkpoint(path, larger)
    path.write_bytes(path.read_bytes()[:-40])
    with pytest.raises(RunError, match="cannot be read"):
        load_checkpoint(path, other)
    np.testing.assert_array_equal(other["model/0"].numpy(), [0.0, 0.0])
