"""Completion: the words that may follow, and the scripts in their shells."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests import REPOSITORY
from unet3d.cli import COMMANDS, main
from unet3d.cli.completion import following


@pytest.mark.parametrize(
    ("line", "words"),
    [
        ("unet3d pre", ["preprocess", "predict"]),
        ("unet3d train loss=dice", ["loss=dice", "loss=dice_ce"]),
        ("unet3d predict tta=", ["tta=false", "tta=true"]),
        ("unet3d train batch_", ["batch_per_replica=", "batch_size="]),
        ("unet3d sweep sweep.early", ["sweep.early_stopping="]),
        ("unet3d completion f", ["fish"]),
        ("unet3d nonsense x", []),
    ],
)
def test_words_are_commands_settings_and_values(line: str, words: list[str]) -> None:
    """From the same schemas and files as --help."""
    assert following(line, COMMANDS) == words
    assert following("unet3d ", COMMANDS) == [command.name for command in COMMANDS]


def test_runs_and_sweeps_are_those_of_the_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of output_dir, where that is typed."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "outputs" / "runs" / "abc").mkdir(parents=True)
    (tmp_path / "other" / "sweeps" / "widths").mkdir(parents=True)
    assert following("unet3d predict run=", COMMANDS) == ["run=abc"]
    assert following("unet3d report output_dir=other sweep=", COMMANDS) == ["sweep=widths"]


BASH = """
eval "$(unet3d completion bash)"
COMP_LINE='unet3d train loss=dice'; COMP_POINT=22; _unet3d; echo "${COMPREPLY[@]}"
"""
ZSH = """
compdef() { : }
compadd() { [[ $* == *open* ]] && print -r -- $open $whole }
eval "$(unet3d completion zsh)"
LBUFFER='unet3d train loss=dice'; _unet3d
"""
FISH = "unet3d completion fish | source; complete -C 'unet3d train loss=dice' | cut -f1"


@pytest.mark.parametrize(
    ("shell", "script", "words"),
    [
        ("bash", BASH, ["dice", "dice_ce"]),  # bash breaks words at =
        ("zsh", ZSH, ["loss=dice", "loss=dice_ce"]),
        ("fish", FISH, ["loss=dice", "loss=dice_ce"]),
    ],
)
def test_a_shell_completes(
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    shell: str,
    script: str,
    words: list[str],
) -> None:
    """The one line that the documentation says, in the shell itself where it is installed."""
    main(["completion", shell])
    assert "unet3d completion words" in capsys.readouterr().out
    if shutil.which(shell) is None:
        pytest.skip(f"no {shell}: apt-get install {shell}")
    program = tmp_path / "unet3d"
    program.write_text(f'#!/bin/sh\nexec {sys.executable} -m unet3d.cli "$@"\n')
    program.chmod(0o755)
    environment = {
        **os.environ,
        "PATH": f"{tmp_path}:{os.environ['PATH']}",
        "PYTHONPATH": str(REPOSITORY),
    }
    done = subprocess.run(
        [shell, "-c", script], env=environment, capture_output=True, text=True, timeout=60
    )
    assert done.stdout.split() == words, done.stderr
