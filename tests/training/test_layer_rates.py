"""optimizer.layer_lr: layers that learn at a factor of the rate, on any number of replicas."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import keras
import numpy as np
import pytest

from tests import REPOSITORY
from tests.small import small_config
from unet3d.config.compose import compose_config
from unet3d.config.schema import AdamConfig, AdamWConfig, OptimizerConfig, SGDConfig
from unet3d.distributed.worker import SINGLE_WORKER
from unet3d.errors import ConfigError, RunError
from unet3d.models import build_model
from unet3d.training import layer_rates
from unet3d.training.layer_rates import set_layer_rates
from unet3d.training.optimizer import make_optimizer
from unet3d.training.setup import make_setup

RATE = 0.01
OPTIMIZERS = [
    AdamConfig(),
    AdamWConfig(weight_decay=0.5),
    SGDConfig(momentum=0.9, weight_decay=0.5),
]


def network() -> keras.Model:
    model = compose_config(["model.filters=2", "model.depth=1", "data.patch=null"]).model
    return build_model(model, channels=1, outputs=2, seed=0)


def after_steps(settings: OptimizerConfig, rate: float, factors: dict | None) -> keras.Model:
    """The network after three steps along the same gradients."""
    model = network()
    optimizer = make_optimizer(settings, rate)  # type: ignore[arg-type]
    set_layer_rates(optimizer, model, factors)
    optimizer.build(model.trainable_variables)
    random = np.random.default_rng(0)
    for _ in range(3):
        grads = [random.normal(size=w.shape).astype("float32") for w in model.trainable_variables]
        optimizer.apply(grads, model.trainable_variables)
    return model


@pytest.mark.parametrize("settings", OPTIMIZERS, ids=lambda s: s.name)
def test_a_layer_moves_as_with_a_rate_of_its_own(settings: OptimizerConfig) -> None:
    """Momentum, moments and decay included; the first expression that matches counts."""
    found = after_steps(settings, RATE, {"enc0_0.*": 0.5, "enc.*": 0.1})
    for factor, pattern in ((0.5, "enc0_0"), (0.1, "enc1"), (1.0, "dec"), (1.0, "logits")):
        wanted = after_steps(settings, RATE * factor, None)
        layers = [layer for layer in found.layers if layer.name.startswith(pattern)]
        assert sum(len(layer.weights) for layer in layers)
        for layer in layers:
            pairs = zip(layer.weights, wanted.get_layer(layer.name).weights, strict=True)
            for one, other in pairs:
                np.testing.assert_allclose(one, other, rtol=1e-5, atol=1e-7)


def test_an_expression_that_matches_nothing_is_one_line() -> None:
    """With the names that there are; behind another that takes all of its layers it is no use."""
    for factors, message in (
        ({"encoder.*": 0.1}, "optimizer.layer_lr: encoder.* matches no layer; there are enc0_0_c"),
        ({".*": 0.5, "enc.*": 0.1}, "enc.* comes behind others that match the same layers"),
    ):
        with pytest.raises(ConfigError, match=message.replace(".*", r"\.\*")):
            set_layer_rates(make_optimizer(AdamConfig(), RATE), network(), factors)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("typed", "message"),
    [
        ("{enc.*: -1}", "write {enc.*: 0.1}, a factor for the layers of each"),
        ("0.1", "optimizer.layer_lr: 0.1 is not possible"),
        ("{enc.*: 0}", "optimizer.layer_lr.enc.*: is 0; type model.freeze=enc.* in its place"),
        ("{*enc: 0.1}", "optimizer.layer_lr: *enc is no regular expression"),
    ],
)
def test_what_is_typed_is_checked(typed: str, message: str) -> None:
    """Before the data are read."""
    with pytest.raises(ConfigError) as caught:
        compose_config([f"optimizer.layer_lr={typed}"])
    assert message in str(caught.value)


def test_a_run_records_the_rates_of_its_layers(tmp_path: Path) -> None:
    """In the log and in a tag; a frozen layer has none."""
    own = ("model.depth=1", "model.freeze=enc1.*", "optimizer.layer_lr={enc.*: 0.1, dec.*: 0.5}")
    found = make_setup(small_config(tmp_path, *own), SINGLE_WORKER).fine_tuning
    assert "optimizer.layer_lr: 4 layers learn at 0.1 of the rate: enc0_0_conv" in (
        "\n".join(found.lines())
    )
    assert found.tags()["optimizer.layer_lr"].startswith("enc0_0_conv 0.1, enc0_0_norm 0.1, ")
    assert "enc1_0_conv" not in found.rates


def test_a_keras_without_these_steps_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    """A later Keras may rename them: that must not be a rate that is the same for all."""
    monkeypatch.setattr(layer_rates, "UPDATE", "_renamed")
    with pytest.raises(RunError, match=f"Keras {keras.__version__}: .* no _renamed"):
        set_layer_rates(make_optimizer(AdamConfig(), RATE), network(), {"enc.*": 0.1})  # type: ignore[arg-type]


REPLICAS = """
import sys
from pathlib import Path
import numpy as np
from tests.small import small_config
from unet3d.training.run import run_training
from unet3d.training.fine_tuning import weights_by_layer

output = Path(sys.argv[1])
run_training(small_config(output, *sys.argv[2:]))
(weights,) = output.glob("runs/*/**/best.weights.h5")
for name, values in weights_by_layer(weights).items():
    print("layer", name, *(repr(float(np.abs(v).sum())) for v in values))
"""


def test_two_replicas_train_as_one(tmp_path: Path) -> None:
    """The steps are divided on each device alike; blocks that are recomputed change nothing."""
    found = []
    own = ("model.filters=2", "model.depth=1", "model.norm=instance", "lr=0.01")
    again = ("parallel=data", "parallel.devices=2", "model.recompute=true")
    rates = "optimizer.layer_lr={enc.*: 0.1}"
    for number, parallel in enumerate(((), again)):
        done = subprocess.run(
            [sys.executable, "-c", REPLICAS, str(tmp_path / str(number)), *own, rates, *parallel],
            env={"PYTHONPATH": str(REPOSITORY), "PATH": "/usr/bin:/bin", "HOME": str(tmp_path)},
            capture_output=True,
            text=True,
        )
        assert done.returncode == 0, done.stderr
        lines = [line.split() for line in done.stdout.splitlines() if line.startswith("layer")]
        found.append({line[1]: [float(value) for value in line[2:]] for line in lines})
    one, two = found
    assert one.keys() == two.keys() and "enc0_0_conv" in one
    for layer in one:
        np.testing.assert_allclose(one[layer], two[layer], rtol=1e-4, atol=1e-6)
