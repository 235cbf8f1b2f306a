"""conf/experiment/search_*.yaml: each search of docs/sweeps.md as a preset that can be run."""

from __future__ import annotations

from typing import Any

import pytest
from hydra import compose, initialize_config_dir
from omegaconf import OmegaConf

from tests import REPOSITORY
from unet3d.config.compose import compose_config, conf_dir
from unet3d.config.schema import Config, SweepRunConfig, register_schema
from unet3d.errors import ConfigError
from unet3d.sweep.search.rules import check_population, check_population_keys, check_search

PRESETS = sorted(path.stem for path in (conf_dir() / "experiment").glob("search_*.yaml"))
PAGE = REPOSITORY / "docs" / "sweeps.md"


def hydra_of(preset: str) -> Any:
    """The sweeper's settings."""
    register_schema()
    with initialize_config_dir(str(conf_dir()), version_base="1.3"):
        return compose("sweep", [f"experiment={preset}"], return_hydra_config=True).hydra


@pytest.mark.parametrize("preset", PRESETS)
def test_a_preset_is_a_search_without_contradictions(preset: str) -> None:
    """With what it sweeps over, all of it settings, and with its row in the table."""
    config = compose_config([f"experiment={preset}"], "sweep")
    assert isinstance(config, SweepRunConfig)
    sweeper = hydra_of(preset).sweeper
    adaptive = "OptunaSweeper" in sweeper._target_
    check_search(config.sweep, config.epochs, adaptive, configurations=9)
    params = OmegaConf.to_container(sweeper.params)
    assert isinstance(params, dict) and params
    if config.sweep.perturbation_interval is not None:
        check_population_keys(set(map(str, params)))
        members = [{str(key): "0.5" for key in params}] * 8
        check_population(config.sweep, config.epochs, config.val_every, members)
    assert f"| `{preset}` |" in PAGE.read_text()


def test_a_training_leaves_the_search_of_a_preset() -> None:
    """As a trial's own command has the preset; a search that is typed for it is refused."""
    alone = compose_config(["experiment=[smoke,search_asha]", "lr=0.1"])
    assert type(alone) is Config
    assert alone == compose_config(["experiment=smoke", "lr=0.1"])
    with pytest.raises(ConfigError, match=r"sweep\.folds is a setting of a sweep"):
        compose_config(["experiment=smoke", "sweep.folds=3"])
