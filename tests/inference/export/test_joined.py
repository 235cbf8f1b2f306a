"""Several networks exported as one."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tensorflow as tf

from tests.small import small_config
from unet3d.errors import RunError
from unet3d.inference.export.joined import joined
from unet3d.inference.export.savedmodel import finest, random_patch, write_savedmodel
from unet3d.inference.network import TrainedNetwork
from unet3d.inference.predictor import make_predictor
from unet3d.models import build_model
from unet3d.sampling.targets import Targets


def network(tmp_path: Path, seed: int, weight: float, *overrides: str) -> TrainedNetwork:
    config = small_config(tmp_path, "model.filters=2", "model.depth=1", *overrides)
    table: np.ndarray = np.zeros((256, 2), np.float32)
    model: Any = build_model(config.model, channels=3, outputs=2, seed=seed)
    predictor = make_predictor(model, tf.distribute.get_strategy(), 1, 1)
    targets = Targets(("a", "b"), table, False)
    channels = ("x", "y", "z")
    return TrainedNetwork(str(seed), config, channels, targets, predictor, model, weight=weight)


def test_one_network_gives_the_weighted_mean(tmp_path: Path) -> None:
    """Also one with deep supervision; written as a SavedModel it is read back and compared."""
    networks = [
        network(tmp_path, 1, 2.0),
        network(tmp_path, 2, 1.0, "model.depth=2", "model.deep_supervision=true"),
    ]
    networks[1] = replace(networks[1], config=networks[0].config)  # of the same stride
    one = joined(networks, "ensemble of s")
    patch = np.zeros((1, 8, 8, 8, 3), np.float32) + np.linspace(0, 1, 8, dtype=np.float32)[:, None]
    each = [np.asarray(finest(member)(patch, training=False)) for member in networks]
    found = np.asarray(one.model(patch, training=False))
    np.testing.assert_allclose(found, (2 * each[0] + each[1]) / 3, atol=1e-5)
    assert one.run == "ensemble of s" and random_patch(one).shape[-1] == 3


def test_it_is_written_for_other_programs(tmp_path: Path) -> None:
    """As any network."""
    one = joined([network(tmp_path, 1, 1.0), network(tmp_path, 2, 3.0)], "e")
    assert write_savedmodel(one, tmp_path / "saved") < 1e-3


def test_networks_of_unequal_windows_are_refused(tmp_path: Path) -> None:
    """Their blended windows have no network that gives the same."""
    other = network(tmp_path, 2, 1.0, "data.patch=[32,16,16]")
    with pytest.raises(RunError, match="cannot be one network: their data.patch differ"):
        joined([network(tmp_path, 1, 1.0), other], "e")
