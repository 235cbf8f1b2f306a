"""From conf/ and overrides to settings, and back from what a run has stored."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from unet3d.config.choices import choices
from unet3d.config.compose import compose_config, from_dict, from_overrides, stored_config
from unet3d.config.reference import rows
from unet3d.config.schema import (
    AdamWConfig,
    Config,
    EvaluateConfig,
    PredictConfig,
    SGDConfig,
    as_dict,
    schemas_of,
)
from unet3d.config.walk import subgroups
from unet3d.errors import ConfigError

# Stated although equal to the default: they are of a publication, whatever the default becomes.
PUBLISHED = {
    "data=msd_brain split.train",
    "data=msd_brain split.val",
    "data=msd_brain split.test",
    "data=msd_brain_tumour split.train",
    "data=msd_brain_tumour split.val",
    "data=msd_brain_tumour split.test",
    "experiment=paper_regions batch_size",
}


def test_every_option_of_every_group_composes() -> None:
    """No YAML under conf/ has gone out of step with the schema."""
    options = [(group, choice.name) for group, offered in choices().items() for choice in offered]
    for group, option in options:
        needs_root = group == "data" and option in ("msd", "nnunet", "table", "folders")
        extra = ["data.root=x"] if needs_root else []
        if option == "own":
            extra = [f"{group}._target_=a.b"]
        config = compose_config([f"{group}={option}", *extra])
        if hasattr(config, group):
            assert getattr(config, group).name == option


def test_regions_on_the_command_line_replace_the_data_sets() -> None:
    """`data.regions={...}` does not merge with the regions of the chosen data set."""
    assert compose_config(["data.regions={lesion:[1,2]}"]).data.regions == {"lesion": [1, 2]}
    assert compose_config(
        ["data=msd", "data.root=x", "data.regions={lesion:[1,2]}"]
    ).data.regions == {"lesion": [1, 2]}
    own = ["data.labels={1:a,2:b}", "data.labels={7:c}"]
    shares = ["data.foreground_shares={1:1}", "data.foreground_shares={2:1}"]
    data = compose_config(["data=msd", "data.root=x", *own, *shares]).data
    assert data.labels == {7: "c"} and data.foreground_shares == {2: 1}


def test_conf_states_what_differs_from_the_schema() -> None:
    """A default is written in one place: a YAML file that repeats it would hide its change."""
    stated = set()
    for group, offered in choices().items():
        variants = schemas_of(group) or [Config]
        for choice in offered:
            named = [v for v in variants if getattr(v, "name", "") == choice.name]
            defaults = _defaults((named or variants)[0])
            stated |= {
                f"{group}={choice.name} {key}"
                for key, value in choice.values.items()
                if key in defaults and defaults[key] == value
            }
    assert stated == PUBLISHED


def _defaults(schema: type) -> dict[str, Any]:
    """The defaults of a schema by dotted keys; of Config at the top alone, as choices differ."""
    nested = {} if schema is Config else subgroups(schema)
    listed = rows(schema) + [row for name, below in nested.items() for row in rows(below, name)]
    return {row.key: row.default for row in listed}


@pytest.mark.parametrize(
    "overrides",
    [
        [],
        ["optimizer=sgd", "optimizer.momentum=0.9"],
        ["optimizer=adamw", "optimizer.weight_decay=0.1"],
        ["data=msd", "data.root=x", "data.regions={lesion:[1,2]}", "data.patch=null"],
    ],
)
def test_a_stored_config_is_read_back_as_it_was(overrides: list[str], tmp_path: Path) -> None:
    """Through a run's config.yaml, each group has the schema of its choice again."""
    from omegaconf import OmegaConf

    config = compose_config(overrides)
    path = tmp_path / "config.yaml"
    path.write_text(OmegaConf.to_yaml(OmegaConf.create(as_dict(config))))
    assert stored_config(path) == config
    assert from_dict(as_dict(config)) == config


def test_the_optimizer_of_a_choice_has_its_schema() -> None:
    """The table of optimizers follows from the schema."""
    assert isinstance(compose_config(["optimizer=adamw"]).optimizer, AdamWConfig)
    stored = as_dict(compose_config(["optimizer=sgd"]))
    assert isinstance(from_dict(stored).optimizer, SGDConfig)


@pytest.mark.parametrize(
    ("schema", "overrides", "message"),
    [
        (
            PredictConfig,
            ["run=a", "input=b", "output=c", "overlap=2"],
            "overlap: 2.0 is not possible; it must be from 0 to below 1",
        ),
        (
            EvaluateConfig,
            ["run=a", "postprocess.min_volume=-1"],
            "postprocess.min_volume: -1.0 is not possible; it must be 0 or more",
        ),
        (PredictConfig, ["run=a", "input=b"], "output is not set; type output=<value>"),
        (PredictConfig, ["run"], "run: not understood; write key=value"),
        (EvaluateConfig, ["rum=a"], "rum is not a setting; choose one of run, again"),
        (EvaluateConfig, ["workers=x"], "workers: 'x' does not fit; it must be a whole number"),
    ],
)
def test_a_commands_settings_are_checked(schema: type, overrides: list[str], message: str) -> None:
    """The rules of the schema hold for commands without conf/, in one line."""
    with pytest.raises(ConfigError) as caught:
        from_overrides(schema, overrides)
    assert str(caught.value).startswith(message) and "\n" not in str(caught.value)


def test_beside_resume_the_whole_is_checked_with_the_runs_settings() -> None:
    """`resume=<id> nodes=4 parallel=data` need not divide a batch that the run does not have."""
    overrides = ["parallel=data", "nodes=4"]
    with pytest.raises(ConfigError, match="batch_size: 2 is the global batch"):
        compose_config(overrides)
    assert compose_config([*overrides, "resume=abc"]).nodes == 4
    with pytest.raises(ConfigError, match="nodes: 0 is not possible"):
        compose_config(["nodes=0", "resume=abc"])


def test_the_paper_segments_one_tumour_in_volumes_of_one_size() -> None:
    """Of voxels that three poolings divide; its grid varies nothing of that."""
    for name in ("paper", "paper_grid"):
        config = compose_config([f"experiment={name}", "data.root=x"])
        assert config.data.regions == {"whole_tumour": [1, 2, 3]}
        assert config.data.patch == [240, 240, 152]
        assert (config.batch_size, config.batch_per_replica) == (2, 2)
        assert all(
            size % step == 0
            for size, step in zip(config.data.patch, config.model.stride, strict=True)
        )
        assert (config.optimizer.name, config.schedule.name) == ("adam", "constant")
    regions = compose_config(["experiment=paper_regions", "data.root=x"])
    assert len(regions.data.regions) == 3 and regions.data.patch is None
