"""The cost of a network, against counts by hand."""

from __future__ import annotations

import keras
import pytest

from unet3d.config.schema import ModelConfig
from unet3d.models import build_model
from unet3d.planning.cost import training_cost


def test_flops_of_a_unet_by_hand() -> None:
    """Depth 1, filters 2, patch 8^3: every convolution's voxels x kernel x 2, added up by hand."""
    model = build_model(
        ModelConfig(name="unet3d", filters=2, depth=1), channels=1, outputs=3, seed=0
    )
    fine, coarse = 8**3, 4**3
    by_hand = (
        fine * 27 * (1 * 2 + 2 * 2)  # down
        + coarse * 27 * (2 * 4 + 4 * 4)  # deepest
        + coarse * 8 * 4 * 2  # each deep voxel makes 8 fine ones
        + fine * 27 * (4 * 2 + 2 * 2)  # up, on the concatenation
        + fine * 2 * 3  # logits
    )
    assert training_cost(model, (8, 8, 8)).flops == 2 * by_hand


def test_strided_convolution_counts_its_output_voxels() -> None:
    """A stride of 2 leaves an eighth of the work."""
    image = keras.Input((None, None, None, 1))
    model = keras.Model(image, keras.layers.Conv3D(5, 3, strides=2, padding="same")(image))
    assert training_cost(model, (8, 8, 8)).flops == 2 * 4**3 * 27 * 5


@pytest.mark.parametrize("name", ["unet3d", "resunet", "resenc", "segresnet", "mednext"])
def test_parameters_are_those_of_the_model(name: str) -> None:
    """Also with several outputs, merges and dropout."""
    model = build_model(
        ModelConfig(name=name, filters=4, depth=2, dropout=0.1, deep_supervision=True),
        channels=2,
        outputs=3,
        seed=0,
    )
    cost = training_cost(model, (16, 16, 16), 2)
    assert cost.parameters == model.count_params()
    assert cost.training_bytes > cost.activation_bytes > 0


def test_memory_by_hand() -> None:
    """One convolution: its output is the only activation; weights, gradients and two slots."""
    image = keras.Input((None, None, None, 1))
    model = keras.Model(image, keras.layers.Conv3D(2, 1)(image))
    cost = training_cost(model, (4, 4, 4), 3)
    assert cost.activation_bytes == 3 * 4**3 * 2 * 4
    assert cost.training_bytes == 2 * cost.activation_bytes + 4 * 4 * (1 + 1 + 2)


def test_memory_scales_with_the_batch() -> None:
    """A batch of 4 takes 4 times."""
    model = build_model(
        ModelConfig(name="unet3d", filters=4, depth=2), channels=1, outputs=1, seed=0
    )
    one = training_cost(model, (16, 16, 16)).activation_bytes
    assert training_cost(model, (16, 16, 16), 4).activation_bytes == 4 * one
