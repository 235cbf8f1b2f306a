"""A traced network computes what its layers compute one by one."""

from __future__ import annotations

import numpy as np
import pytest
import tensorflow as tf

from unet3d.config import ModelConfig
from unet3d.models import build_model


@pytest.mark.parametrize("norm", ["none", "group"])
@pytest.mark.parametrize("activation", ["relu", "leaky_relu"])
@pytest.mark.parametrize("name", ["unet3d", "resunet"])
def test_traced_equals_layer_by_layer(name: str, activation: str, norm: str) -> None:
    """TensorFlow's own fusions have been wrong on CPU, see unet3d/models/fusion.py."""
    config = ModelConfig(name=name, filters=4, depth=2, norm=norm, groups=2, activation=activation)
    model = build_model(config, channels=2, outputs=3, seed=0)
    for weight in model.trainable_variables:
        if weight.name == "bias":
            weight.assign(np.random.default_rng(0).normal(size=weight.shape))
    image = np.random.default_rng(1).normal(size=(1, 16, 16, 16, 2)).astype(np.float32)
    traced = tf.function(lambda x: model(x, training=False))
    plain = model(tf.constant(image), training=False).numpy()
    np.testing.assert_allclose(traced(tf.constant(image)).numpy(), plain, atol=1e-3)
