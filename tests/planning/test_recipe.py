"""Recipes against plans of nnU-Net's own planner, made once by benchmarks/plans_nnunet.py."""

from __future__ import annotations

import json
from functools import partial
from pathlib import Path

import numpy as np
import pytest

from unet3d.config.plans import read_plans
from unet3d.config.schema import ModelConfig
from unet3d.planning.recipe import feature_values, nnunet_values, plan_recipe
from unet3d.planning.rules import SHARE_OF_DATA
from unet3d.preprocessing.auto_spacing import choose_spacing
from unet3d.preprocessing.geometry import resampled_shape

PLANS = Path(__file__).with_name("nnunet_plans")


@pytest.mark.parametrize(
    "name", ["brain_mr", "liver_ct", "prostate_mr", "heart_mr", "hippocampus_mr"]
)
@pytest.mark.parametrize(("preset", "memory"), [("", 8), ("_resenc_m", 8), ("_resenc_l", 24)])
def test_recipes_equal_those_of_nnunet(name: str, preset: str, memory: float) -> None:
    """Spacing, patch, batch size, strides and kernels, of the same fingerprint and memory."""
    found = json.loads((PLANS / f"{name}_fingerprint.json").read_text())
    expected = read_plans(PLANS / f"{name}{preset}.json")
    spacings, shapes = found["spacings"], found["shapes"]
    spacing = list(choose_spacing(spacings, shapes).mm)
    assert spacing == pytest.approx(expected.spacing)
    pairs = zip(shapes, spacings, strict=True)
    volume = np.median([resampled_shape(shape, mm, spacing) for shape, mm in pairs], axis=0)
    outputs, model = found["labels"] + 1, ModelConfig("resenc")
    blocks = model.blocks_at if preset else None
    count = partial(feature_values, filters=32, max_filters=320, outputs=outputs, blocks=blocks)
    most, share = nnunet_values(memory, bool(preset)), 1.0 if preset else SHARE_OF_DATA
    recipe = plan_recipe(volume.tolist(), spacing, len(shapes), most, count, share)
    assert recipe is not None
    assert (recipe.patch, recipe.batch_size) == (expected.patch, expected.batch_size)
    assert recipe.topology.strides == expected.strides
    assert recipe.topology.kernels == expected.kernels
    if preset:
        levels = range(len(expected.kernels))
        assert tuple(model.blocks_at(level) for level in levels) == expected.blocks


def test_less_memory_gives_a_smaller_patch_and_none_gives_none() -> None:
    """Never more values than there is memory for; where nothing fits there is no recipe."""
    count = partial(feature_values, filters=32, max_filters=320, outputs=3)
    for most in (5e8, 1e8, 1e7):
        recipe = plan_recipe((138, 171, 137), (1, 1, 1), 50, most, count)
        assert recipe is not None and count(recipe.patch, recipe.topology) <= most
    assert plan_recipe((138, 171, 137), (1, 1, 1), 50, 1e3, count) is None
