"""Trials that differ in values alone are composed by Hydra once, to what it makes of each."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hydra import compose, initialize_config_dir
from hydra.core.global_hydra import GlobalHydra
from hydra.errors import ConfigCompositionException
from omegaconf import DictConfig, OmegaConf, open_dict

from hydra_plugins.unet3d_sweep.composer import Composer
from tests import REPOSITORY
from unet3d.config.command_line import prepare_overrides
from unet3d.config.compose import conf_dir, to_config
from unet3d.config.schema import register_schema


class Counted:
    """Hydra's own composition, and how often it was asked."""

    def __init__(self, folder: Path) -> None:
        self.count = 0
        self.loader = GlobalHydra.instance().config_loader()
        self.master = compose(
            "sweep", [f"output_dir={folder}", "data.root=x"], return_hydra_config=True
        )
        self.composer = Composer(self.loader, "sweep", self.compose)

    def compose(self, overrides: list[str]) -> DictConfig:
        self.count += 1
        composed = self.loader.load_sweep_config(self.master, overrides)
        OmegaConf.set_readonly(composed, False)
        with open_dict(composed):
            del composed["hydra"]
        return composed

    def alone(self, overrides: list[str]) -> Any:
        return to_config(self.compose(overrides))


@pytest.fixture
def hydra(tmp_path: Path) -> Iterator[Counted]:
    register_schema()
    with initialize_config_dir(str(conf_dir()), version_base="1.3"):
        yield Counted(tmp_path)


@pytest.mark.parametrize(
    ("lists", "composed"),
    [
        ([["lr=1e-3", "seed=0"], ["lr=1e-4", "seed=0"], ["lr=2", "seed=1"]], 1),
        ([["optimizer.amsgrad=true"], ["optimizer.amsgrad=false"]], 1),
        ([["data.fold=null"], ["data.fold=1", "data.folds=5"], ["data.fold=null"]], 2),
        ([["output_dir=a"], ["output_dir='b c'"]], 1),  # of which data.store follows
        ([["experiment=smoke", "lr=1"], ["experiment=paper", "lr=1"]], 2),
        ([["optimizer=sgd", "lr=1"], ["optimizer=adam", "lr=1"], ["optimizer=sgd", "lr=2"]], 2),
        ([["data.patch=[16,16,16]"], ["data.patch=[32,16,16]"]], 2),
        ([["data.regions={a:[1]}"], ["data.regions={b:[1],c:[2]}"]], 2),
        ([["lr=1", "data.regions={a:[1]}"], ["lr=2", "data.regions={a:[1]}"]], 1),
        ([["+model.params.a=1"], ["+model.params.a=2"]], 2),
        ([["data.root=${output_dir}/a"], ["data.root=${output_dir}/b"]], 2),
        ([["data.root=x", "lr=1"], ["data.root=y", "lr=1"]], 1),
        ([["epochs=3", "lr=1"], ["lr=1", "epochs=4"]], 2),
    ],
)
def test_values_alone_are_not_composed_again(
    hydra: Counted, lists: list[list[str]], composed: int
) -> None:
    """And each trial has the settings that Hydra gives it."""
    own = ["model=own", "model._target_=a.b"] if "params" in lists[0][0] else []
    lists = [prepare_overrides([*own, *overrides]) for overrides in lists]
    found = [hydra.composer.compose(overrides) for overrides in lists]
    assert hydra.count == composed
    assert found == [hydra.alone(overrides) for overrides in lists]


def test_an_impossible_value_is_worded_by_hydra(hydra: Counted) -> None:
    """As it is for the first trial; those that follow are as if it had not been."""
    first = hydra.composer.compose(["epochs=3"])
    with pytest.raises(ConfigCompositionException, match="Error merging override epochs=many"):
        hydra.composer.compose(["epochs=many"])
    assert hydra.composer.compose(["epochs=3"]) == first


def test_a_sweep_begins_with_our_sweeper(tmp_path: Path) -> None:
    """Hydra's own would compose each trial once more, before any is looked at."""
    command = [sys.executable, "sweep.py", "--cfg", "hydra", f"output_dir={tmp_path}"]
    told = subprocess.run(command, cwd=REPOSITORY, capture_output=True, text=True, timeout=120)
    assert "_target_: hydra_plugins.unet3d_sweep.grid_sweeper.GridSweeper" in told.stdout
