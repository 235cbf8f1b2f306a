"""`unet3d init`: what it writes, and that it replaces nothing."""

from __future__ import annotations

import re
import shlex
from pathlib import Path

import pytest

from unet3d.cli import main
from unet3d.cli.arguments import with_config_dir
from unet3d.config.compose import compose_config


def test_the_project_composes_and_names_what_it_has(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its experiment takes its data set and its network, as the commands of its README say."""
    monkeypatch.chdir(tmp_path)
    main(["init", "mine"])
    monkeypatch.chdir("mine")
    assert Path(".gitignore").is_file() and Path("nets.py").is_file()
    (first, *_) = re.findall(r"^unet3d train (.*)$", Path("README.md").read_text(), re.MULTILINE)
    config = compose_config(with_config_dir(shlex.split(first)))
    assert config.data.name == "example" and config.model._target_ == "nets.build"


def test_nothing_of_a_user_is_replaced(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """A file that is there already ends it in one line, before anything is written."""
    monkeypatch.chdir(tmp_path)
    Path("nets.py").write_text("mine")
    with pytest.raises(SystemExit) as ended:
        main(["init"])
    assert ended.value.code == 2
    assert capsys.readouterr().err.startswith("error: nets.py exists; name another folder")
    assert [path.name for path in tmp_path.iterdir()] == ["nets.py"]


def test_a_folder_of_settings_that_is_not_there_is_one_line(
    capsys: pytest.CaptureFixture[str],
) -> None:
    """--config-dir, also of commands that Hydra does not start."""
    with pytest.raises(SystemExit):
        main(["doctor", "--config-dir", "nowhere"])
    assert capsys.readouterr().err == "error: --config-dir: nowhere is not a folder\n"
