"""Settings that cannot work are one line that names the key and what is allowed."""

from __future__ import annotations

import dataclasses

import pytest
from hydra.errors import HydraException
from omegaconf.errors import OmegaConfBaseException

from unet3d.config.compose import compose_config
from unet3d.config.messages import as_typed, explain, not_a_setting
from unet3d.config.schema import PhantomConfig, SourceConfig, SplitConfig
from unet3d.errors import ConfigError


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        (["lrr=1"], "lrr is not a setting; did you mean lr?"),
        (["model.nrom=batch"], "model.nrom is not a setting; did you mean model.norm?"),
        (["+foo=1"], "foo is not a setting; choose one of accumulate,"),
        (["+model.foo=1"], "model.foo is not a setting"),
        (
            ["optimizer=sgd", "optimizer.beta_2=0.9"],
            "optimizer.beta_2 is not a setting of the chosen optimizer",
        ),
        (
            ["model=unt"],
            "model: 'unt' does not exist; choose one of mednext, own, resenc, ",
        ),
        (["parallel=other"], "parallel: 'other' does not exist; choose one of"),
        (["lr=abc"], "lr: 'abc' does not fit; it must be a number"),
        (["epochs=1.5"], "epochs: '1.5' does not fit; it must be a whole number"),
        (["lr=[1"], "lr=[1: not understood; to set lr to this very text, type 'lr=\"[1\"'"),
        (["lr"], "lr: not understood; write key=value"),
        (
            ["lr=1,2"],
            "lr=1,2: several values are tried by a sweep, as in python sweep.py -m lr=1,2",
        ),
        (["output_dir=a,b"], "output_dir=a,b: several values"),
        (
            ["output_dir=a (b)"],
            "output_dir=a (b): not understood; to set output_dir to this very text, type "
            "'output_dir=\"a (b)\"'",
        ),
        (["lr=0"], "lr: 0.0 is not possible; it must be above 0"),
        (["batch_size=0"], "batch_size: 0 is not possible; it must be 1 or more"),
        (["batch_size=3", "accumulate=2"], "accumulate: 2 does not divide batch_size=3"),
        (
            ["parallel=data", "nodes=4", "batch_size=6"],
            "batch_size: 6 is the global batch and cannot be shared by 4 replicas; "
            "type batch_size=4 or batch_size=8",
        ),
        (["parallel=data", "nodes=2", "accumulate=2"], "batch_size: 2 is the global batch"),
        (
            ["parallel=data", "nodes=2", "parallel.devices=2"],
            "parallel.devices: 2 is only possible",
        ),
        (["parallel.devices=2"], "parallel.devices: 2 is not possible with parallel=none"),
        (["parallel.lr_scaling=cubic"], "parallel.lr_scaling: cubic is not possible; it must be"),
        (["parallel.hang_timeout=0"], "parallel.hang_timeout: 0.0 is not possible"),
        (["data.patch=[50,48,48]"], "data.patch: [50, 48, 48] is not divisible by 8"),
        (["data.patch=[48,48]"], "data.patch: [48, 48] is not possible; it must be three sizes"),
        (["data.patch=[48,48,4.8]"], "data.patch: [48, 48, 4.8] is not possible; it must be three"),
        (["data.patch=large"], "data.patch: large is not possible; it must be three sizes"),
        (["data.patch_memory=0"], "data.patch_memory: 0.0 is not possible; it must be above 0"),
        (["data.spacing=[1,1]"], "data.spacing: [1.0, 1.0] is not possible"),
        (["data.regions={x:1}"], "data.regions.x: 1 is not possible; it must be a list"),
        (["data.regions=abc"], "data.regions: abc is not possible; write {"),
        (["data.target=foo"], "data.target: foo is not possible; it must be one of regions"),
        (
            ["model.norm=foo"],
            "model.norm: foo is not possible; it must be one of batch, sync_batch",
        ),
        (["precision=float8"], "precision: float8 is not possible; it must be one of float32"),
        (["augment.flip=2"], "augment.flip: 2.0 is not possible; it must be from 0 to 1"),
        (["schedule=cosine", "epochs=1"], "schedule.warmup_epochs: 1.0 is not possible"),
        (["nodes=2"], "nodes: 2 is not possible with parallel=none"),
        (
            ["data=msd_brain", "data.source.url=ftp://mirror/a.tar"],
            "data.source.url: ftp://mirror/a.tar is not possible; it must be an address",
        ),
        (["data=msd_brain", "data.source.checksum=md5:12"], "data.source.checksum: md5:12 is not"),
        (["data=msd_brain", "data.source.sum=md5:12"], "data.source.sum is not a setting; did you"),
        (["data=msd"], "data.root is not set; type data.root=<value>"),
    ],
)
def test_bad_settings_are_one_clear_line(overrides: list[str], message: str) -> None:
    """The real Hydra composes; whatever it or the schema refuses is worded for a user."""
    with pytest.raises((ConfigError, HydraException, OmegaConfBaseException)) as caught:
        compose_config(overrides)
    line = str(caught.value) if isinstance(caught.value, ConfigError) else explain(caught.value)
    assert line.startswith(message)
    assert "\n" not in line


@pytest.mark.parametrize(
    ("group", "schema"),
    [
        ("data.split", SplitConfig),
        ("data.phantom", PhantomConfig),
        ("data.source", SourceConfig),
    ],
)
def test_a_wrong_key_lists_the_settings_of_its_own_group(group: str, schema: type) -> None:
    """Groups within groups are found in the schema, however deep."""
    key = group + ".no_setting_has_such_a_name"
    names = sorted(f"{group}.{field.name}" for field in dataclasses.fields(schema))
    expected = f"{key} is not a setting; choose one of {', '.join(names)}"
    assert not_a_setting(key) == expected


def test_a_sweeps_setting_is_not_one_of_a_training() -> None:
    """`train.py sweep.trials=3` says where the setting belongs."""
    with pytest.raises((ConfigError, HydraException, OmegaConfBaseException)) as caught:
        compose_config(["sweep.trials=3"])
    assert explain(caught.value) == "sweep.trials is a setting of a sweep, not of a training alone"
    assert not_a_setting("dry_run") == "dry_run is a setting of a sweep, not of a training alone"


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (None, "null"),
        (True, "true"),
        (1e-3, "0.001"),
        ([48, None], "[48,null]"),
        ({"a": [1, 2]}, "{a:[1,2]}"),
        ("float32", "float32"),
    ],
)
def test_values_are_shown_as_they_are_typed(value: object, text: str) -> None:
    """What a message or the reference shows can be copied to a command line."""
    assert as_typed(value) == text
