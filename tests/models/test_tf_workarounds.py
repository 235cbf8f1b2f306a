"""A traced network computes what its layers compute one by one."""

from __future__ import annotations

import numpy as np
import pytest
import tensorflow as tf

from unet3d.config.schema import ModelConfig
from unet3d.models import build_model
from unet3d.models.tf_workarounds import FusionBarrier


@pytest.mark.parametrize("norm", ["none", "group"])
@pytest.mark.parametrize("activation", ["relu", "leaky_relu"])
@pytest.mark.parametrize("name", ["unet3d", "resunet"])
def test_traced_equals_layer_by_layer(name: str, activation: str, norm: str) -> None:
    """TensorFlow's own fusions have been wrong on CPU, see unet3d/models/tf_workarounds.py."""
    config = ModelConfig(name=name, filters=4, depth=2, norm=norm, groups=2, activation=activation)
    model = build_model(config, channels=2, outputs=3, seed=0)
    for weight in model.trainable_variables:
        if weight.name == "bias":
            weight.assign(np.random.default_rng(0).normal(size=weight.shape))
    image = np.random.default_rng(1).normal(size=(1, 16, 16, 16, 2)).astype(np.float32)
    traced = tf.function(lambda x: model(x, training=False))
    plain = model(tf.constant(image), training=False).numpy()
    np.testing.assert_allclose(traced(tf.constant(image)).numpy(), plain, atol=1e-3)


def test_the_workaround_is_the_networks_own() -> None:
    """Only residual blocks without a norm need it; no switch is set for networks that follow."""
    before = tf.config.optimizer.get_experimental_options()
    barriers = []
    for settings in ({}, {"name": "unet3d"}, {"activation": "relu"}, {"norm": "group"}):
        chosen = {"name": "resunet", "norm": "none", "activation": "leaky_relu", **settings}
        model = build_model(
            ModelConfig(filters=4, depth=1, groups=2, **chosen), channels=1, outputs=1, seed=0
        )
        barriers.append(sum(isinstance(layer, FusionBarrier) for layer in model.layers))
    assert barriers == [4, 0, 0, 0]  # two blocks a level
    assert tf.config.optimizer.get_experimental_options() == before
