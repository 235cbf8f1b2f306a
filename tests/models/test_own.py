"""A network, loss or optimizer of the user's own: what it must be, and what a breach says."""

from __future__ import annotations

import re
import sys
from pathlib import Path

import keras
import pytest

from tests import REPOSITORY
from tests.small import small_config
from unet3d.config.compose import compose_config, stored_config
from unet3d.config.identity import settings_key
from unet3d.config.schema import ExportConfig, LossConfig, ModelConfig
from unet3d.config.target import find_target
from unet3d.errors import ConfigError
from unet3d.inference.export.export import export
from unet3d.inference.network import load_trained
from unet3d.losses import check_loss
from unet3d.models import build_model
from unet3d.planning.cost import training_cost
from unet3d.training.run import run_training

PAGE = REPOSITORY / "docs" / "own_network.md"
NETS = '''
import keras
from keras import layers, ops

number = 3

class Block(layers.Layer):
    def __init__(self, outputs):
        super().__init__()
        self.inner = layers.Conv3D(outputs, 3, padding="same")

    def call(self, x):
        return self.inner(x)

def plain(*, channels, outputs, fixed=None, extra=0, dtype="float32", stride=1):
    image = keras.Input((fixed, fixed, fixed, channels))
    return keras.Model(
        image, layers.Conv3D(outputs + extra, 1, strides=stride, padding="same", dtype=dtype)(image)
    )

def layer(*, channels, outputs):
    return Block(outputs)

def text(*, channels, outputs):
    return "a network"

def fails(*, channels, outputs):
    raise RuntimeError("out of ideas\\nand more")

def deep(*, channels, outputs):
    """Pools twice, whatever the settings say."""
    image = keras.Input((None, None, None, channels))
    x = layers.MaxPooling3D(4)(image)
    x = layers.UpSampling3D(4)(x)
    return keras.Model(image, layers.Conv3D(outputs, 1)(layers.Concatenate()([image, x])))

def supervised(*, channels, outputs):
    image = keras.Input((None, None, None, channels))
    half = layers.AveragePooling3D(2)(image)
    return keras.Model(image, [layers.Conv3D(outputs, 1)(x) for x in (image, half)])
'''


@pytest.fixture(autouse=True)
def mylab(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The packages of the documentation, `mylab`, and of these tests, `theirs`."""
    network, loss, metric = re.findall(r"```python\n(.*?)```", PAGE.read_text(), re.DOTALL)
    for name, text in (("nets", network), ("losses", loss), ("metrics", metric)):
        path = tmp_path / "packages" / "mylab" / f"{name}.py"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    (tmp_path / "packages" / "theirs.py").write_text(NETS)
    (tmp_path / "packages" / "broken.py").write_text("1 / 0")
    monkeypatch.syspath_prepend(tmp_path / "packages")


def own(target: str, **settings: object) -> ModelConfig:
    return ModelConfig(name="own", depth=1, _target_=target, **settings)  # type: ignore[arg-type]


def build(model: ModelConfig) -> keras.Model:
    return build_model(model, channels=2, outputs=3, seed=0)


@pytest.mark.parametrize(
    ("model", "message"),
    [
        (own("nolab.nets.build"), "nolab.nets.build is not found, as .* has no module nolab; inst"),
        (own("mylab.nests.build"), "has no module mylab.nests; install"),
        (own("broken.build"), "broken cannot be imported (ZeroDivisionError: division by zero)"),
        (own("theirs.build"), "theirs.build is not found, as module theirs has no build"),
        (own("theirs.number"), "theirs.number is of type int; it must be a function or a class"),
        (
            own("theirs.text"),
            "returned str; a keras.Model or a keras.Layer is expected",
        ),
        (own("theirs.fails"), "theirs.fails failed (RuntimeError: out of ideas)"),
        (own("mylab.nets.build", params={"widht": 3}), "unexpected keyword argument 'widht'"),
        (
            own("mylab.nets.build", params={"outputs": 3}),
            "mylab.nets.build is given outputs anyway",
        ),
        (
            own("theirs.plain", params={"fixed": 8}),
            "network of inputs [(None, 8, 8, 8, 2)]; ",
        ),
        (
            own("theirs.plain", params={"extra": 1}),
            "(1, 2, 2, 2, 4) for an image of [2, 2, ",
        ),
        (own("theirs.plain", params={"stride": 2}), "(1, 2, 2, 2, 3) is expected, by 3 outputs"),
        (own("theirs.plain", params={"dtype": "float16"}), "output 0 is float16; float32 logits"),
        (own("theirs.deep"), "fails on [2, 2, 2] voxels"),
        (
            own("theirs.deep"),
            "model.strides, which say that sizes divide by [2, 2,",
        ),
    ],
)
def test_each_breach_is_one_line(model: ModelConfig, message: str) -> None:
    """It names the target, what it is or returned, and what is expected."""
    with pytest.raises(ConfigError) as error:
        build(model)
    text = str(error.value)
    assert text.startswith(("model._target_: ", "model.params.")) and "\n" not in text
    assert model._target_ is not None and model._target_ in text
    if ".*" in message:
        assert re.search(message, text)
    else:
        assert message in text


def test_a_layer_and_deep_supervision_are_networks() -> None:
    """A layer becomes a graph, whose cost is not known; a list is one output for each level."""
    found = build(own("theirs.layer"))
    assert found.output.shape == (None, None, None, None, 3)
    with pytest.raises(ConfigError, match="data.patch=\\[x,y,z\\]"):
        training_cost(found, (8, 8, 8))
    assert len(build(own("theirs.supervised")).outputs) == 2


def test_the_cost_of_a_graph_is_counted() -> None:
    """Its additions are operations of Keras', no layers."""
    cost = training_cost(build(own("mylab.nets.build")), (8, 8, 8))
    fine, deep = 8**3, 4**3
    by_hand = 27 * fine * 2 * 8 + 27 * deep * 8 * 16 + 8 * deep * 16 * 8 + fine * 8 * 3
    assert cost.flops == 2 * by_hand


def test_weights_depend_on_the_seed() -> None:
    """Also those of a network that knows of no seed."""
    one, again = build(own("mylab.nets.build")), build(own("mylab.nets.build"))
    assert all((a == b).all() for a, b in zip(one.get_weights(), again.get_weights(), strict=True))


def test_settings_choose_own_and_are_checked() -> None:
    """`_target_` alone chooses it; params need no +, and make another trial."""
    first, second = (
        compose_config(["model._target_=mylab.nets.build", f"model.params.width={width}"])
        for width in (8, 16)
    )
    assert first.model.name == "own" and first.model.params == {"width": 8}
    assert settings_key(first) != settings_key(second)
    lion = compose_config(["optimizer._target_=keras.optimizers.Lion"]).optimizer
    assert lion.name == "own"
    for overrides, message in (
        (["model=own"], "model._target_: is not set"),
        (
            ["model=unet3d", "model._target_=a.b"],
            "with model=unet3d; type model=own",
        ),
        (["model.params.width=3"], "model.params: is not possible with model=unet3d"),
        (["model._target_=build"], "must be the full name of a function or class"),
    ):
        with pytest.raises(ConfigError) as error:
            compose_config(overrides)
        assert message in str(error.value)
    with pytest.raises(ConfigError, match="loss._target_: is not set"):
        find_target("loss._target_", None)


@pytest.mark.parametrize(
    ("target", "message"),
    [
        ("mylab.losses.tf.zeros_like", "is not found"),
        ("keras.losses.Dice", "cannot be called with 2 tensors and exclusive"),
        ("theirs.plain", "cannot be called"),
    ],
)
def test_a_loss_is_checked(target: str, message: str) -> None:
    """One value a sample, or one line that says what it is instead."""
    check_loss(LossConfig(name="own", _target_="mylab.losses.l2"), False, 3)
    with pytest.raises(ConfigError, match=message):
        check_loss(LossConfig(name="own", _target_=target), False, 3)


def test_it_trains_predicts_and_exports(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The example of the documentation with its loss and an optimizer of Keras'.

    The run remembers it; without the package, prediction says what is missing.
    """
    target = "mylab.nets.build"
    run_training(
        small_config(
            tmp_path,
            *(f"model._target_={target}", "model.depth=1", "model.params.width=3"),
            *("loss._target_=mylab.losses.l2", "loss.params.weight=2"),
            *("optimizer._target_=keras.optimizers.Lion", "optimizer.params.beta_1=0.8"),
        )
    )
    (folder,) = (tmp_path / "runs").iterdir()
    stored = stored_config(folder / "config.yaml")
    assert stored.model._target_ == target and stored.model.params == {"width": 3}
    assert f"{target} on " in (folder / "train.log").read_text()
    trained = load_trained(folder.name, str(tmp_path), 1, "mixed_bfloat16")
    assert trained.model.layers[1].filters == 3
    out = tmp_path / "exported"
    export(ExportConfig(run=folder.name, output=str(out), output_dir=str(tmp_path)))
    assert any(out.iterdir())
    monkeypatch.setitem(sys.modules, "mylab", None)
    monkeypatch.delitem(sys.modules, "mylab.nets")
    with pytest.raises(ConfigError, match="mylab.nets.build is not found"):
        load_trained(folder.name, str(tmp_path), 1)
