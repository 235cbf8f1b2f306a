"""Names of regions and settings as MLflow accepts them, each under a key of its own."""

from __future__ import annotations

import itertools

from mlflow.utils.validation import path_not_unique, validate_param_and_metric_name

from unet3d.tracking.keys import LIMIT, mlflow_key


def test_a_name_that_mlflow_accepts_stays() -> None:
    """Also names in other scripts."""
    for name in ("val/dice_WT", "val/dice_a b", "val/dice_опухоль", "data.split.train", "a:b"):
        assert mlflow_key(name) == name


def test_other_characters_become_their_code() -> None:
    """The documented mapping."""
    assert mlflow_key("val/dice_TC+ET") == "val/dice_TC:2b:ET"
    assert mlflow_key("val/dice_1,2") == "val/dice_1:2c:2"


def test_every_name_is_accepted_and_no_two_become_one() -> None:
    """All short names of troublesome characters, and long ones."""
    alphabet = ("+", ":", "_", "/", ".", "2b", "#")
    names = [
        "".join(word) for size in (1, 2, 3, 4) for word in itertools.product(alphabet, repeat=size)
    ]
    names = sorted({*names, *(f"val/dice_{name}" for name in names), "x" * 300, "x" * 301})
    keys = [mlflow_key(name) for name in names]
    assert len(set(keys)) == len(names)
    for key in keys:
        assert validate_param_and_metric_name(key) and not path_not_unique(key)
        assert len(key) <= LIMIT
