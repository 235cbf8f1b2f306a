"""init= and model.freeze: which weights a training begins with, and which it keeps."""

from __future__ import annotations

from pathlib import Path

import keras
import numpy as np
import pytest

from tests.small import small_config
from unet3d.config.compose import stored_config
from unet3d.config.schema import ModelConfig
from unet3d.errors import ConfigError, RunError
from unet3d.inference.network import load_trained
from unet3d.inference.weights import save_weights
from unet3d.models import build_model
from unet3d.training.fine_tuning import begin_with, freeze, init_file, take_weights
from unet3d.training.resume import resumed_config
from unet3d.training.run import run_training


def network(channels: int = 2, outputs: int = 3, seed: int = 0, **settings: object) -> keras.Model:
    model = ModelConfig(**{"name": "unet3d", "filters": 4, "depth": 1, **settings})  # type: ignore[arg-type]
    return build_model(model, channels=channels, outputs=outputs, seed=seed)


@pytest.fixture
def weights(tmp_path: Path) -> Path:
    """Of a network with 2 sequences and 3 outputs."""
    path = tmp_path / "best.weights.h5"
    save_weights(network(), path)
    return path


def test_what_fits_is_taken(weights: Path) -> None:
    """With other sequences and outputs, the first and last layer begin anew, as the log says."""
    model, before = network(4, 1, seed=1), network(4, 1, seed=1)
    initial = begin_with(model, weights, "dec.*")
    assert set(initial.anew) == {"enc0_0_conv", "logits0"}
    assert "init: layer enc0_0_conv begins anew: (3, 3, 3, 2, 4) in the file, (3, 3, 3, 4, 4) " in (
        "".join(initial.lines())
    )
    assert initial.tags()["init.anew"] == "enc0_0_conv, logits0"
    source = network()
    for layer in model.layers:
        expected = (before if layer.name in initial.anew else source).get_layer(layer.name)
        for found, wanted in zip(layer.get_weights(), expected.get_weights(), strict=True):
            np.testing.assert_array_equal(found, wanted)


@pytest.mark.parametrize("name", ["unet3d", "resunet", "resenc", "segresnet", "mednext"])
def test_all_of_the_same_network_is_taken(name: str, tmp_path: Path) -> None:
    """Also where layers hold more than a kernel."""
    settings = {"name": name, "deep_supervision": True, "dropout": 0.1}
    source = network(**settings)
    save_weights(source, tmp_path / "a.weights.h5")
    model = network(seed=1, **settings)
    assert not take_weights(model, tmp_path / "a.weights.h5")[1]
    for found, wanted in zip(model.get_weights(), source.get_weights(), strict=True):
        np.testing.assert_array_equal(found, wanted)


def test_what_cannot_be_taken_is_one_line(weights: Path, tmp_path: Path) -> None:
    """Another network, a file that is none, a run that does not exist."""
    with pytest.raises(ConfigError, match="no layer fits; the file has enc0_0_norm"):
        take_weights(network(filters=3), weights)
    (tmp_path / "text.h5").write_text("no weights")
    with pytest.raises(ConfigError, match="text.h5 cannot be read"):
        take_weights(network(), tmp_path / "text.h5")
    for init, message in (
        ("gone", "init: run: gone is not a run"),
        ("a.h5", "a.h5 does not exist"),
    ):
        with pytest.raises(ConfigError, match=message):
            init_file(small_config(tmp_path, f"init={init}"))


def test_frozen_layers_stay_as_they_are() -> None:
    """Neither weights nor statistics move; a pattern that means nothing is refused."""
    model = network()
    assert freeze(model, "enc.*")[0] == "enc0_0_conv"
    norm = model.get_layer("enc0_0_norm")
    before = [np.array(value) for value in norm.get_weights()]
    model(np.ones((1, 4, 4, 4, 2), np.float32), training=True)
    for value, kept in zip(norm.get_weights(), before, strict=True):
        np.testing.assert_array_equal(value, kept)
    assert all("dec" in v.path or "logits" in v.path for v in model.trainable_variables)
    with pytest.raises(ConfigError, match="matches no layer; there are enc0_0_conv"):
        freeze(network(), "encoder")
    with pytest.raises(ConfigError, match="leaves nothing to train"):
        freeze(network(), ".*")


def test_a_run_begins_with_another(tmp_path: Path) -> None:
    """With frozen layers as they were in that run; resumed, it needs that run no more."""
    run_training(small_config(tmp_path))
    (first,) = (tmp_path / "runs").iterdir()
    begun = small_config(
        tmp_path,
        *(f"init={first.name}", "model.freeze=enc.*", "data.regions={lesion:[1,2]}"),
        *("epochs=2", "optimizer.ema=0.5"),
    )
    run_training(begun)
    (second,) = (run for run in (tmp_path / "runs").iterdir() if run != first)
    assert "layer logits0 begins anew" in (second / "train.log").read_text()
    assert stored_config(second / "config.yaml").init == first.name
    source, tuned = (load_trained(run.name, str(tmp_path), 1).model for run in (first, second))
    for layer in source.layers:
        pairs = zip(layer.get_weights(), tuned.get_layer(layer.name).get_weights(), strict=True)
        if layer.name.startswith("enc"):
            assert all(np.array_equal(a, b) for a, b in pairs), layer.name
    changed = [m.get_layer("dec0_0_conv").get_weights()[0] for m in (source, tuned)]
    assert not np.array_equal(*changed)
    (first / "checkpoints" / "best.weights.h5").unlink()
    resumed = resumed_config(
        small_config(tmp_path, f"resume={second.name}", "epochs=3"), ["epochs=3"]
    )
    run_training(resumed)
    with pytest.raises(RunError, match="init: o is not possible"):
        resumed_config(small_config(tmp_path, f"resume={second.name}", "init=o"), ["init=o"])
