"""A network for inference says what the trained one says."""

from __future__ import annotations

import numpy as np
import pytest
import tensorflow as tf

from unet3d.config.schema import ModelConfig
from unet3d.inference.network import for_inference
from unet3d.models import build_model
from unet3d.models.fast_inference import PairedConv3D


@pytest.mark.parametrize("name", ["unet3d", "resunet", "resenc", "segresnet"])
@pytest.mark.parametrize(
    ("norm", "activation", "precision", "tolerance"),
    [
        ("batch", "relu", "float32", 1e-4),
        ("batch", "leaky_relu", "float32", 1e-4),
        ("sync_batch", "leaky_relu", "mixed_bfloat16", 0.2),
        ("group", "relu", "mixed_bfloat16", 0.2),
        ("none", "leaky_relu", "float32", 1e-4),
    ],
)
def test_the_fast_network_has_the_same_logits(
    name: str, norm: str, activation: str, precision: str, tolerance: float
) -> None:
    """With norms folded and in another precision; both networks run as compiled graphs."""
    model = ModelConfig(
        name=name,
        norm=norm,
        activation=activation,
        filters=4,
        depth=2,
        groups=2,
        deep_supervision=name == "resunet",
    )
    network = build_model(model, channels=2, outputs=3, seed=0)
    random = np.random.default_rng(0)
    for variable in network.variables:  # statistics as after a training
        if "norm" in variable.path:
            variable.assign(random.uniform(0.5, 1.5, variable.shape))
    fast = for_inference(network, model, precision)
    assert any(isinstance(layer, PairedConv3D) for layer in fast.layers)
    if "batch" in norm and name != "segresnet":  # whose norms come before the convolutions
        assert not any("norm" in variable.path for variable in fast.variables)
    patch = tf.constant(random.standard_normal((1, 16, 8, 12, 2), dtype=np.float32))

    def finest(net: object) -> np.ndarray:
        given = tf.function(lambda x: net(x, training=False))(patch)  # type: ignore[operator]
        return (given[0] if isinstance(given, list) else given).numpy()

    expected, found = finest(network), finest(fast)
    assert np.abs(expected).max() > 0.5 and found.dtype == np.float32
    np.testing.assert_allclose(found, expected, atol=tolerance * np.abs(expected).max())
