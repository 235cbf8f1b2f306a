"""data.plans in a YAML file of the user's own, and in a sweep: never ignored."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from unet3d.cli.hydra_start import run_hydra
from unet3d.cli.programs import trial
from unet3d.config.compose import compose_config
from unet3d.config.schema import Config
from unet3d.errors import ConfigError

PLANS = Path(__file__).resolve().parents[1] / "planning" / "nnunet_plans"


@pytest.fixture
def own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """A folder for --config-dir: plans in a preset and in a data set; hands back its options."""
    monkeypatch.setattr(sys, "argv", ["train.py"])
    monkeypatch.setenv("HYDRA_FULL_ERROR", "1")
    for name, text in {
        "experiment/mine": f"batch_size: 3\ndata: {{plans: {PLANS / 'prostate_mr.json'}}}",
        "experiment/topology": "model: {depth: 4}\n",
        "experiment/gone": "data: {plans: gone.json}",
        "data/lab": f"defaults: [msd, _self_]\nroot: x\nplans: {PLANS / 'liver_ct.json'}",
    }.items():
        path = tmp_path / f"{name}.yaml"
        path.parent.mkdir(exist_ok=True)
        package = "# @package _global_\n" if name.startswith("experiment") else ""
        path.write_text(package + text)
    return ["--config-dir", str(tmp_path)]


def composed(arguments: list[str]) -> tuple[Config, list[str]]:
    """What train.py would train, and the overrides that it is given beside it."""
    found: list[tuple[Config, list[str]]] = []
    run_hydra(lambda config, overrides: found.append((config, overrides)), arguments=arguments)
    return found[0]


def test_plans_of_a_preset_count_before_other_files(own: list[str]) -> None:
    """What stands in the same file, or is typed, counts before them."""
    config, overrides = composed([*own, "experiment=mine", "data.spacing=null"])
    assert config.data.patch[2] < 32 < config.data.patch[0]
    assert config.model.strides[0] == [2, 2, 1]
    assert (config.batch_size, config.data.spacing) == (3, None)
    assert overrides == ["experiment=mine", "data.spacing=null"]  # as typed, for `resume`


def test_plans_of_a_data_set_beside_a_preset(own: list[str]) -> None:
    """A preset's depth is replaced; a typed one keeps its topology; null takes no plans."""
    config, _ = composed([*own, "data=lab", "experiment=topology"])
    assert config.model.depth == len(config.model.strides) == 5
    assert config.data.normalize == ["ct"]
    config, _ = composed([*own, "data=lab", "model.depth=2"])
    assert config.model.strides is None and config.data.normalize == ["ct"]
    config, _ = composed([*own, "data=lab", "data.plans=null"])
    assert config.data.normalize == "auto"


def test_commands_take_a_folder_of_own_files(own: list[str]) -> None:
    """`unet3d plan --config-dir <folder>` and the like, which Hydra does not start."""
    for options in (own, ["=".join(own)]):
        config = compose_config([*options, "data=lab"])
        assert config.data.normalize == ["ct"] and config.data.root == "x"
    with pytest.raises(ConfigError, match="--config-dir: gone is not a folder"):
        compose_config(["--config-dir", "gone"])
    with pytest.raises(ConfigError, match="--config-dir: needs a folder"):
        compose_config(["data=lab", "--config-dir"])


def test_plans_that_are_gone_are_one_line(own: list[str], capsys: pytest.CaptureFixture) -> None:
    """As on the command line."""
    with pytest.raises(SystemExit):
        composed([*own, "experiment=gone"])
    assert "data.plans: gone.json: cannot be read" in capsys.readouterr().err


@pytest.mark.parametrize(
    "typed",
    [
        f"data.plans={PLANS / 'prostate_mr.json'},{PLANS / 'liver_ct.json'}",
        "data=phantom,lab",
    ],
)
def test_each_trial_takes_its_own_plans(own, typed, monkeypatch) -> None:
    """A sweep over plans, and over data sets of which one has plans."""
    plans = []
    monkeypatch.setattr("unet3d.sweep.run.run_sweep", lambda plan: plans.append(plan) or {})
    run_hydra(trial, "sweep", [*own, "data=msd", "data.root=x", typed])
    one, other = (trial.config for trial in plans[0].trials)
    assert one.data.normalize == (["zscore"] * 2 if "plans" in typed else "auto")
    assert other.data.normalize == ["ct"] and other.model.depth == 5
    assert all(key in ("data.plans", "data") for key in plans[0].swept)
