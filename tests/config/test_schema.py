"""Every setting is described, and every rule refuses what it says it refuses."""

from __future__ import annotations

import dataclasses
from typing import Any

import pytest
from omegaconf import MISSING

from unet3d.config import schema
from unet3d.config.schema import SCHEMAS, PostprocessConfig, PredictConfig, SweepRunConfig
from unet3d.config.setting import Effect, Setting, setting
from unet3d.config.walk import check_values, own_settings, settings_by_group, subgroups
from unet3d.errors import ConfigError

ALL = [getattr(schema, name) for name in schema.__all__ if name.endswith("Config")]

BAD: dict[str, Any] = {  # a value that each rule refuses, by the words of the rule
    "a share from 0 to 1, or a whole number": 1.5,
    "above 0": 0,
    "above 0, and 1 at most": 0,
    "a time, as in 2026-12-01T08:00": "tomorrow",
    "a regular expression": "enc(",
    "the full name of a function or class, as in mylab.nets.build": "build",
    "0 or more": -1,
    "1 or more": 0,
    "2 or more": 1,
    "5 seconds or more": 4.9,
    "from 0 to 1": 1.1,
    "from 1 to 8": 9,
    "from 0 to below 1": 1,
    "above 0, to 0.5": 0.6,
    "from 0 to 180 degrees": 181,
    "from 0 to below 2**62": 2**62,
    "from 0 to 2147483647": -1,
    "from 1 to 65535": 65536,
    "numbers of 1 or more, as in [1,3,4,6]": [1, 0],
    "three lengths from 0.01 to 100 mm, as in [1,1,1]": [1.0, 0.0, 1.0],
    "three lengths from 0.01 to 100 mm, as in [1,1,1], or auto": [1.0, 0.0, 1.0],
    "three sizes from 16 to 4096 voxels": [16, 15, 16],
    "the id of a run, which is the name of its folder in <output_dir>/runs": "../x",
    "the id of a run, or several as a,b,c": "a,../x",
    "a name: at most 200 characters, none of / \\ : or unprintable, not . or ..": "../x",
    "a range [low,high] with 0 < low <= high": [2.0, 1.0],
    "a folder": " ",
    "letters, digits, and . _ - after the first, as it names a folder": "../x",
    "a range [first,last] of ports with 1 <= first <= last <= 65535": [9, 1],
    "an address that begins with http:// or https://": "ftp://x",
    "<algorithm>:<hex digits>, with one of md5, sha1, sha256, sha512": "md5:12",
}


def ruled() -> list[Any]:
    """(schema, name, its setting) of each setting that has a rule."""
    return [
        pytest.param(kind, name, own, id=f"{kind.__name__}.{name}")
        for kind in ALL
        for name, own in own_settings(kind).items()
        if own.rule is not None
    ]


@pytest.mark.parametrize("kind", ALL)
def test_every_field_is_a_described_setting_or_a_group(kind: type) -> None:
    """--help and docs/settings.md have words for all."""
    assert (kind.__doc__ or "").strip().endswith((".", "1"))
    own, nested = own_settings(kind), subgroups(kind)
    for field in dataclasses.fields(kind):
        assert field.name in own or field.name in nested
    for name, found in own.items():
        assert len(found.description) > 5, name
        assert not found.description.endswith("."), name


@pytest.mark.parametrize(("kind", "name", "own"), ruled())
def test_every_rule_refuses_a_bad_value_in_one_line(kind: type, name: str, own: Setting) -> None:
    """Key, value and rule, for each setting of each schema; the default passes."""
    assert own.rule is not None
    bad = "nonsense" if own.rule.text.startswith("one of ") else BAD[own.rule.text]
    alone = dataclasses.make_dataclass("Alone", [(name, Any, setting(None, "alone", own.rule))])
    check_values(alone())
    with pytest.raises(ConfigError) as caught:
        check_values(alone(bad))
    message = f"{name}: {bad} is not possible; it must be {own.rule.text}"
    assert str(caught.value) == message and "\n" not in message
    default = getattr(kind(), name)
    assert default is None or default == MISSING or own.rule.allows(default)


def test_rules_reach_the_groups_within_a_schema() -> None:
    """The key is the whole one, as it is typed."""
    settings = PredictConfig("a", "b", "c", postprocess=PostprocessConfig(min_volume=-1))
    with pytest.raises(ConfigError, match="^postprocess.min_volume: -1 is not possible"):
        check_values(settings)


def test_a_list_is_not_shared_between_instances() -> None:
    """The default of one run is not changed by another."""
    made = dataclasses.make_dataclass("Made", [("x", list, setting([1], "a list"))])
    made().x.append(2)
    assert made().x == [1]


def test_where_a_run_computes_does_not_change_its_result_but_for_three_settings() -> None:
    """Of parallel, what scales the rate or rounds the gradients; tracking and sweep not at all."""
    settings = settings_by_group(SweepRunConfig)
    changing = {n for n, s in settings["parallel"].items() if s.effect is not Effect.NONE}
    assert changing == {"lr_scaling", "warmup_epochs", "compression"}
    assert {s.effect for s in settings["tracking"].values()} == {Effect.NONE}
    assert {s.effect for s in settings["sweep"].values()} == {Effect.NONE}
    assert {s.effect for s in settings["validation"].values()} == {Effect.EXTENDS}
    extends = {n for n, s in settings[""].items() if s.effect is Effect.EXTENDS}
    assert extends == {"epochs", "val_every", "patience", "stop_after"}


def test_every_group_of_a_run_has_a_schema_for_its_choices() -> None:
    """conf/ and the schema name the same groups."""
    chosen = {group for group, _ in SCHEMAS} - {"schema"}
    assert chosen == set(subgroups(SweepRunConfig)) - {"validation", "sweep"}
