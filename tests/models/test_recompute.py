"""model.recompute: the gradients of each network, its blocks, and what it cannot be used with."""

from __future__ import annotations

import keras
import numpy as np
import pytest
import tensorflow as tf

from unet3d.config.compose import compose_config
from unet3d.config.schema import ModelConfig
from unet3d.errors import ConfigError
from unet3d.models import build_model
from unet3d.models.recompute import blocks_of, recomputed
from unet3d.planning.cost import training_cost

NAMES = ["unet3d", "resunet", "resenc", "segresnet", "mednext"]


def network(name: str, **settings: object) -> keras.Model:
    given = {"name": name, "filters": 4, "depth": 2, "norm": "instance", **settings}
    return build_model(ModelConfig(**given), channels=2, outputs=3, seed=0)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("name", "downsampling"), [*((name, "pool") for name in NAMES), ("unet3d", "stride")]
)
def test_loss_and_gradients_are_those_of_the_network(name: str, downsampling: str) -> None:
    """Also with several levels of logits, where axes are pooled apart, and as in nnU-Net."""
    strides = [[2, 2, 1], [2, 2, 2]]
    model = network(name, deep_supervision=True, strides=strides, downsampling=downsampling)
    image = tf.random.stateless_normal((2, 8, 12, 8, 2), (0, 0))
    weights = [weight.value for weight in model.trainable_variables]
    found = []
    for call in (lambda x: model(x, training=True), recomputed(model)):

        @tf.function(autograph=False)
        def step(images: tf.Tensor, call: object = call) -> tuple[tf.Tensor, list[tf.Tensor]]:
            with tf.GradientTape() as tape:
                logits = call(images)  # type: ignore[operator]
                loss = tf.add_n([tf.reduce_mean(level**2) for level in logits])
            return loss, tape.gradient(loss, weights)

        found.append(step(image))
    (loss, gradients), (again, others) = found
    assert float(loss) == pytest.approx(float(again), rel=1e-6)
    assert len(gradients) == len(others) == len(weights)
    # Where a norm takes the mean out, a bias has a gradient of 0: what is left of large terms.
    largest = max(float(np.abs(one).max()) for one in gradients)
    for one, other in zip(gradients, others, strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-5, atol=5e-6 * largest)


@pytest.mark.parametrize("name", NAMES)
def test_every_layer_is_of_one_block(name: str) -> None:
    """Few tensors are kept: about one a block, and the skips are among them."""
    model = network(name)
    blocks = blocks_of(model)
    layers = [layer.name for block in blocks for layer in block.layers]
    assert sorted(layers) == sorted(layer.name for layer in model.layers[1:])
    assert len(blocks) > 5
    assert sum(len(block.outputs) for block in blocks) <= len(blocks) + 2
    kept, less = (training_cost(model, (32, 32, 32), recompute=again) for again in (False, True))
    assert less.training_bytes < 0.75 * kept.training_bytes
    assert less.flops == kept.flops and less.parameters == kept.parameters


@pytest.mark.parametrize(
    ("typed", "message"),
    [
        ([], "with model.norm=batch; type model.norm=instance or group"),
        (["model.norm=group", "model.dropout=0.1"], "with model.dropout=0.1; type model.dropout=0"),
        (
            ["model._target_=a.b", "model.norm=none"],
            "with model.name=own; type model.recompute=fal",
        ),
    ],
)
def test_what_would_be_another_result_is_refused(typed: list[str], message: str) -> None:
    """A batch norm would move its statistics twice, and dropout draw two masks."""
    with pytest.raises(ConfigError, match="model.recompute: true is not possible") as caught:
        compose_config(["model.recompute=true", *typed])
    assert message in str(caught.value)
