"""docs/settings.md and --help have every setting, and are what the commands print."""

from __future__ import annotations

import pytest

from tests import REPOSITORY
from unet3d.cli import main
from unet3d.config.choices import choices, default_choices, default_values
from unet3d.config.help import program_help, settings_help
from unet3d.config.schema import (
    COMMANDS,
    SCHEMAS,
    PredictConfig,
    SweepRunConfig,
    flatten,
)
from unet3d.config.walk import settings_by_group

DOCS = REPOSITORY / "docs"


def keys() -> set[str]:
    """Every setting of a run and of a sweep, without the names that group=choice sets."""
    found = set()
    for group, settings in settings_by_group(SweepRunConfig).items():
        found |= {f"{group}.{name}" if group else name for name in settings}
    for (group, _), schema in SCHEMAS.items():
        if group == "optimizer":
            found |= {f"{group}.{name}" for name in settings_by_group(schema)[""]}
    return found - {f"{group}.name" for group, _ in SCHEMAS}


def test_the_page_is_what_the_command_prints(capsys: pytest.CaptureFixture[str]) -> None:
    """A setting that was changed and not written down fails here: unet3d settings > docs/..."""
    main(["settings"])
    assert capsys.readouterr().out == (DOCS / "settings.md").read_text()


def test_the_page_has_every_setting_and_choice() -> None:
    """In a row that starts with its key, with type, default, description, rule and effect."""
    lines = (DOCS / "settings.md").read_text().splitlines()
    for key in keys():
        assert any(line.startswith(f"| `{key}` | ") for line in lines), key
    for group, offered in choices().items():
        for choice in offered:
            assert any(line.startswith(f"| `{group}={choice.name}`") for line in lines)
    for command in COMMANDS:
        assert f"## unet3d {command}" in lines
    row = "| `lr` | number | `0.001` | learning rate at the schedule's peak | above 0 | yes |"
    assert row in lines
    row = "| `epochs` | whole number | `20` | length of the training | 1 or more | "
    assert row + "yes; may change on resume |" in lines


def test_help_has_every_setting_with_the_value_of_the_default_run() -> None:
    """--help is what `python train.py` would train with, and what else there is to choose."""
    for name in ("config", "sweep"):
        lines = program_help(name).splitlines()
        for key in keys():
            of_sweep = key == "dry_run" or key.startswith("sweep.")
            assert any(line.startswith(f"  {key}=") for line in lines) is (
                name == "sweep" or not of_sweep
            ), key
        assert any(line.startswith("  data.patch=[48,48,48] ") for line in lines)
        assert "  model: mednext, own, resenc, resunet, segresnet, unet3d*" in lines
        assert max(map(len, lines)) <= 100


def test_choices_that_a_program_begins_with() -> None:
    """sweep.py begins with those of train.py, but for its own."""
    assert default_choices() == {**default_choices("sweep"), "parallel": "none"}
    assert default_choices("sweep")["parallel"] == "experiment"
    assert default_values()["augment.flip"] == 0.5


def test_choices_are_described_and_say_what_they_set() -> None:
    """The comment at the top of a YAML file is its description."""
    offered = choices()
    for group in offered.values():
        for choice in group:
            assert choice.description.endswith((".", ")")) or ":" in choice.description, choice
    (paper,) = (choice for choice in offered["experiment"] if choice.name == "paper")
    assert paper.description.startswith("One trial of the paper")
    assert paper.values["loss"] == "dice" and paper.values["lr"] == 1e-4
    assert "hydra" not in offered
    (regions,) = (one for one in offered["experiment"] if one.name == "paper_regions")
    assert flatten(regions.values)["data.patch"] is None


def test_a_commands_settings_are_listed() -> None:
    """For `unet3d <command> --help`: with those of its groups, and what must be given."""
    text = settings_help(PredictConfig)
    assert "  input=<required>" in text
    assert "  postprocess.min_volume=0.0" in text
    assert "(from 0 to below 1)" in text
