"""Settings that cannot work are one line that names the key and what is allowed."""

from __future__ import annotations

import pytest
from hydra.errors import HydraException
from omegaconf.errors import OmegaConfBaseException

from unet3d.cli import compose_config, main
from unet3d.config import ConfigError
from unet3d.config_errors import explain


@pytest.mark.parametrize(
    ("overrides", "told"),
    [
        (["lrr=1"], "lrr is not a setting; did you mean lr?"),
        (["model.nrom=batch"], "model.nrom is not a setting; did you mean model.norm?"),
        (["+foo=1"], "foo is not a setting; choose one of accumulate,"),
        (["+model.foo=1"], "model.foo is not a setting"),
        (
            ["optimizer=sgd", "optimizer.beta_2=0.9"],
            "optimizer.beta_2 is not a setting of the chosen optimizer",
        ),
        (["model=unt"], "model: 'unt' is not there; choose one of resunet, unet3d"),
        (["parallel=other"], "parallel: 'other' is not there; choose one of"),
        (["lr=abc"], "lr: 'abc' does not fit; it must be a number"),
        (["epochs=1.5"], "epochs: '1.5' does not fit; it must be a whole number"),
        (["lr=[1"], "lr=[1: not understood; write key=value"),
        (["lr=0"], "lr: 0.0 is not possible; it must be above 0"),
        (["batch_size=0"], "batch_size: 0 is not possible; it must be 1 or more"),
        (["batch_size=3", "accumulate=2"], "accumulate: 2 does not divide batch_size=3"),
        (
            ["parallel=data", "nodes=4", "batch_size=6"],
            "batch_size: 6 is the global batch and cannot be shared by 4 replicas; "
            "type batch_size=4 or batch_size=8",
        ),
        (["parallel=data", "nodes=2", "accumulate=2"], "batch_size: 2 is the global batch"),
        (["parallel=data", "nodes=2", "parallel.devices=2"], "parallel.devices: 2 is of nodes=1"),
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
def test_bad_settings_are_one_clear_line(overrides: list[str], told: str) -> None:
    """The real Hydra composes; whatever it or the schema refuses is worded for a user."""
    with pytest.raises((ConfigError, HydraException, OmegaConfBaseException)) as caught:
        compose_config(overrides)
    line = str(caught.value) if isinstance(caught.value, ConfigError) else explain(caught.value)
    assert line.startswith(told)
    assert "\n" not in line


def test_every_option_of_every_group_composes() -> None:
    """No YAML under conf/ has gone out of step with the schema."""
    from unet3d.cli import conf_dir

    for path in sorted(conf_dir().glob("*/*.yaml")):
        group, option = path.parent.name, path.stem
        extra = ["data.root=x"] if option == "msd" else []
        choice = f"+{group}={option}" if group == "experiment" else f"{group}={option}"
        config = compose_config([choice.removeprefix("+"), *extra])
        if group != "experiment":
            assert getattr(config, group).name == option


def test_regions_on_the_command_line_replace_the_data_sets() -> None:
    """`data.regions={...}` does not merge with the regions of the chosen data set."""
    assert compose_config(["data.regions={lesion:[1,2]}"]).data.regions == {"lesion": [1, 2]}
    assert compose_config(
        ["data=msd", "data.root=x", "data.regions={lesion:[1,2]}"]
    ).data.regions == {"lesion": [1, 2]}


def test_a_setting_below_one_that_is_null_is_told(capsys: pytest.CaptureFixture[str]) -> None:
    """Phantoms' settings beside another data set: one line, where OmegaConf asserts."""
    with pytest.raises(SystemExit) as ended:
        main(["preprocess", "data=msd", "data.root=nowhere", "data.phantom.cases=3"])
    assert ended.value.code == 2
    assert "data.phantom is of data=phantom" in capsys.readouterr().err
