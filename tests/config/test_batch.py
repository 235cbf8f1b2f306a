"""batch_per_replica: the global batch by the replicas, and what contradicts it."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from tests.small import small_config
from unet3d.config.batch import with_replicas
from unet3d.config.compose import compose_config, stored_config
from unet3d.config.schema import ScalingConfig, StudyConfig
from unet3d.errors import ConfigError
from unet3d.planning.patch import patches_at_once
from unet3d.run_folder import run_folder
from unet3d.scaling.cells import Cell, cell_overrides
from unet3d.scaling.devices import CPUS, StudyDevices
from unet3d.training.resume import keep_patch
from unet3d.training.run import run_training


@pytest.mark.parametrize(
    ("typed", "batch"),
    [
        ((), 2),
        (("parallel=data", "nodes=4"), 8),
        (("parallel=data", "nodes=4", "parallel.gpus_per_node=2"), 16),
        (("parallel=data", "nodes=4", "parallel.gpus_per_node=0"), 8),
        (("parallel=data", "parallel.devices=3"), 6),
        (("parallel=data", "nodes=2", "batch_size=4"), 4),  # which is what it makes
        (("parallel=data", "nodes=3", "accumulate=2"), 6),
        (("batch_per_replica=null", "batch_size=5"), 5),
    ],
)
def test_the_paper_trains_on_two_patches_a_replica(typed: tuple[str, ...], batch: int) -> None:
    """Nothing more is typed for more replicas; the rate grows with them."""
    config = compose_config(["experiment=paper", "data.root=x", *typed])
    assert config.batch_size == batch and config.parallel.lr_scaling == "linear"


def test_what_contradicts_it_is_one_clear_error() -> None:
    """A batch of all replicas beside it, and a replica's batch that accumulate does not divide."""
    with pytest.raises(ConfigError, match="batch_size: 7 is not possible beside batch_per_"):
        compose_config(["batch_per_replica=2", "batch_size=7", "parallel=data", "nodes=2"])
    with pytest.raises(ConfigError, match="batch_per_replica: 0 is not possible"):
        compose_config(["batch_per_replica=0"])
    with pytest.raises(ConfigError, match="accumulate: 4 does not divide batch_size=6"):
        compose_config(["batch_per_replica=3", "accumulate=4", "parallel=data", "nodes=2"])


def test_parallel_auto_may_not_change_the_result() -> None:
    """The batch is that of one replica, whatever is chosen."""
    config = compose_config(["experiment=paper", "data.root=x", "parallel=auto"])
    assert (config.batch_size, config.batch_per_replica) == (2, None)


def test_plans_count_what_a_replica_holds() -> None:
    """Also where GPUs are found only when the run starts, so that batch_size is not known yet."""
    config = compose_config(["batch_per_replica=4", "accumulate=2", "parallel=data"])
    assert patches_at_once(config, 8) == 2 == patches_at_once(config, 1)
    known = with_replicas(config, 8)
    assert (known.batch_size, known.batch_per_replica) == (32, None)
    assert with_replicas(known, 2) is known


@pytest.mark.parametrize(("weak", "batch"), [(True, 16), (False, 4)])
def test_a_study_sets_the_batch_of_each_part(weak: bool, batch: int) -> None:
    """scaling.weak=true: of a replica; false: the same global batch for any number."""
    base = ["experiment=paper", "data.root=x", "batch_per_replica=4"]
    config = compose_config(base)
    cell, devices = Cell("data", 4, 4, 1, 0), StudyDevices(CPUS, 4, 4, "here")
    settings = ScalingConfig([1, 4], ["data"], StudyConfig())
    own = cell_overrides(cell, config, settings, devices, weak, 1)
    typed = [one for one in own if one.startswith(("batch_", "parallel.devices", "nodes="))]
    again = compose_config([*base, "parallel=data", *typed])
    assert again.batch_size == batch


def test_a_run_records_the_batch_of_all_replicas(tmp_path: Path) -> None:
    """Over two logical devices 2 x 1 patches; the next attempt keeps that, also on one device."""
    typed = ["batch_per_replica=1", "parallel=data", "parallel.devices=2", "model.filters=2"]
    config = small_config(tmp_path, *typed, "model.depth=1", "steps_per_epoch=1")
    run_training(config)
    (run,) = (tmp_path / "runs").iterdir()
    stored = stored_config(run_folder(tmp_path, run.name).config)
    assert (stored.batch_size, stored.batch_per_replica) == (2, None)
    alone = replace(config.parallel, devices=1)
    again = keep_patch(replace(config, resume=run.name, parallel=alone, batch_size=1))
    assert (again.batch_size, again.batch_per_replica) == (2, None)
