"""data.plans: settings from files that nnU-Net's planner wrote, see benchmarks/plans_nnunet.py."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from tests.nifti_files import config as data_config
from tests.nifti_files import write_dataset
from unet3d.config.command_line import prepare_overrides
from unet3d.config.compose import compose_config
from unet3d.errors import ConfigError
from unet3d.preprocessing.preprocess import preprocess

PLANS = Path(__file__).resolve().parents[1] / "planning" / "nnunet_plans"


def test_an_anisotropic_plan_is_turned_to_x_y_z() -> None:
    """nnU-Net's first axis is the coarsest; here slices lie along z."""
    config = compose_config([f"data.plans={PLANS / 'prostate_mr.json'}"])
    assert config.data.patch[2] < 32 < config.data.patch[0]
    assert config.data.spacing == [0.625, 0.625, 3.6]
    assert config.data.normalize == ["zscore", "zscore"]
    assert config.model.strides[0] == [2, 2, 1] and config.model.kernels[0] == [3, 3, 1]
    assert config.model.depth == len(config.model.strides) == len(config.model.kernels) - 1
    pairs = zip(config.data.patch, config.model.stride, strict=True)
    assert all(size % step == 0 for size, step in pairs)


def test_what_is_typed_counts_and_a_topology_is_of_one_piece() -> None:
    """Before or after data.plans; what was prepared is prepared as it is."""
    plans = f"data.plans={PLANS / 'prostate_mr.json'}"
    typed = ["batch_size=3", plans, "data.spacing=null", "model.depth=2"]
    config = compose_config([*typed, "data.patch=[64,64,16]"])
    assert (config.batch_size, config.data.spacing, config.data.patch) == (3, None, [64, 64, 16])
    assert config.model.strides is None and config.model.depth == 2
    prepared = prepare_overrides([f"data.plans={PLANS / 'liver_ct.json'}"])
    assert prepare_overrides(prepared) == prepared
    assert compose_config(prepared).data.normalize == ["ct"]
    assert prepare_overrides(["-m", plans, "lr=1,2"])[0] == "-m"  # Hydra takes none before it


def test_plans_of_earlier_versions_and_inherited_ones(tmp_path) -> None:
    """Before 2.4 the topology had other names; a configuration may inherit from another."""
    plans = json.loads((PLANS / "brain_mr.json").read_text())
    now = compose_config([f"data.plans={PLANS / 'brain_mr.json'}"])
    planned = plans["configurations"].pop("3d_fullres")
    network = planned.pop("architecture")["arch_kwargs"]
    planned["pool_op_kernel_sizes"] = network["strides"]
    planned["conv_kernel_sizes"] = network["kernel_sizes"]
    own = {"inherits_from": "base", "batch_size": 7}
    plans["configurations"] |= {"base": planned, "3d_fullres": own}
    path = tmp_path / "plans.json"
    path.write_text(json.dumps(plans))
    before = compose_config([f"data.plans={path}"])
    assert before.batch_size == 7 and before.model == now.model
    assert replace(before.data, plans=None) == replace(now.data, plans=None)


def test_plans_of_a_residual_encoder_choose_its_network() -> None:
    """With its blocks a level; a network that is typed is kept."""
    plans = f"data.plans={PLANS / 'prostate_mr_resenc_m.json'}"
    config = compose_config(["experiment=nnunet", plans])
    assert config.model.name == "resenc" and config.model.filters == 32
    assert config.model.blocks == [1, 3, 4, 6, 6, 6, 6][: config.model.depth + 1]
    typed = compose_config([plans, "model=unet3d"])
    assert typed.model.name == "unet3d" and typed.model.strides == config.model.strides


def changed(**changes: Any) -> str:
    plans = json.loads((PLANS / "liver_ct.json").read_text())
    plans["configurations"]["3d_fullres"] |= changes
    return json.dumps(plans)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("not json", "plans.json: not a JSON file"),
        ('{"name": "BRATS"}', "holds no plans of nnU-Net v2"),
        ('{"configurations": {"2d": {}}}', "has no 3d_fullres, only 2d; networks here are 3D"),
        ('{"configurations": {"3d_fullres": {}}}', "is not as nnU-Net v2 writes it"),
        (changed(patch_size=[96, 96]), "is not as nnU-Net v2 writes it"),
        (changed(normalization_schemes=["RGBTo01Normalization"]), "normalises by RGBTo01"),
    ],
)
def test_files_that_hold_no_such_plans(tmp_path, text, message) -> None:
    """One line that names the file and what is wrong with it."""
    path = tmp_path / "plans.json"
    path.write_text(text)
    with pytest.raises(ConfigError, match=message):
        compose_config([f"data.plans={path}"])
    with pytest.raises(ConfigError, match="data.plans: .*gone.json: cannot be read"):
        compose_config([f"data.plans={tmp_path / 'gone.json'}"])


def test_plans_of_other_sequences(tmp_path) -> None:
    """A plan for two sequences on a data set of one."""
    write_dataset(tmp_path / "raw", channels=1)
    data = compose_config([f"data.plans={PLANS / 'prostate_mr.json'}"]).data
    given = data_config(tmp_path, normalize=data.normalize, plans=data.plans)
    with pytest.raises(ConfigError, match="prostate_mr.json is of a data set with 2 sequences"):
        preprocess(given)
