"""An exported model that computes something else is found."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from unet3d.config.schema import ModelConfig
from unet3d.errors import RunError
from unet3d.inference.export.savedmodel import compare, finest
from unet3d.models import build_model


@pytest.fixture(scope="module")
def trained() -> Any:
    """A network with deep supervision, and no more of a run than is looked at."""
    model = ModelConfig(name="unet3d", filters=2, depth=2, deep_supervision=True)
    network = build_model(model, channels=2, outputs=1, seed=0)
    return SimpleNamespace(
        model=network, channels=("a", "b"), config=SimpleNamespace(model=model), run="r"
    )


def test_the_same_is_no_difference(trained: Any) -> None:
    """Of a list of levels the finest counts."""
    assert compare(trained, "same", lambda patch: trained.model(patch)[0].numpy()) == 0


@pytest.mark.parametrize("change", [2e-4, np.nan])
def test_another_number_is_refused(trained: Any, change: float) -> None:
    """Above 1e-4, or none at all."""

    def wrong(patch: np.ndarray) -> np.ndarray:
        logits = np.array(finest(trained)(patch))
        logits[1, 2, 3, 1, 0] += change
        return logits

    with pytest.raises(RunError, match="wrong: read back, its logits differ"):
        compare(trained, "wrong", wrong)


def test_another_shape_is_refused(trained: Any) -> None:
    """A model of one size would fail so."""
    with pytest.raises(RunError, match="where the network gives"):
        compare(trained, "flat", lambda patch: np.zeros((2, 8), np.float32))


def test_fusions_are_on_while_a_model_is_checked(trained: Any) -> None:
    """As in the program that will load it, also where this one has switched them off."""
    import tensorflow as tf

    options, seen = tf.config.optimizer, []

    def look(patch: np.ndarray) -> np.ndarray:
        seen.append(options.get_experimental_options()["remapping"])
        return np.asarray(finest(trained)(patch))

    before = options.get_experimental_options().get("remapping", True)
    options.set_experimental_options({"remapping": False})
    try:
        compare(trained, "same", look)
        assert seen == [True]
        assert options.get_experimental_options()["remapping"] is False
    finally:
        options.set_experimental_options({"remapping": before})
