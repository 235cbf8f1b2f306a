"""The wheel, in an environment apart and an empty folder: what a pip user types."""

from __future__ import annotations

import os
import re
import shlex
import subprocess
import sys
import sysconfig
from collections.abc import Callable
from pathlib import Path

import pytest

from tests import REPOSITORY

Command = Callable[..., str]


@pytest.fixture(scope="module")
def command(tmp_path_factory: pytest.TempPathFactory) -> Command:
    """Runs `unet3d ...` of the wheel in a folder and returns what it printed.

    Its environment has this one's libraries, but nothing of the repository.
    """
    made = tmp_path_factory.mktemp("wheel")
    run([sys.executable, "-m", "pip", "wheel", "-q", "--no-deps", "-w", str(made), str(REPOSITORY)])
    (wheel,) = made.glob("*.whl")
    environment = made / "environment"
    run([sys.executable, "-m", "venv", "--without-pip", str(environment)])
    python = environment / "bin" / "python"
    pip = [sys.executable, "-m", "pip", "--python", str(python)]
    run([*pip, "install", "-q", "--no-deps", str(wheel)])
    (packages,) = environment.glob("lib/*/site-packages")
    (packages / "libraries.pth").write_text(sysconfig.get_path("purelib"))

    def unet3d(folder: Path, *arguments: str) -> str:
        return run([str(environment / "bin" / "unet3d"), *arguments], folder)

    return unet3d


def run(words: list[str], folder: Path | None = None) -> str:
    clean = {**os.environ, "PYTHONPATH": str(folder or "")}  # where a project has its network
    done = subprocess.run(
        words,
        cwd=folder,
        env=clean,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=500,
    )
    assert done.returncode == 0, done.stdout
    return done.stdout


def test_a_pip_user_does_what_the_readme_of_a_new_project_says(
    tmp_path: Path, command: Command
) -> None:
    """`unet3d init`, and each line of its README; shown commands are those they can type."""
    command(tmp_path, "init", "mine")
    project = tmp_path / "mine"
    said = {words[1]: words[2:] for words in commands_of(project / "README.md")}
    assert [*said] == ["train", "sweep", "predict", "runs", "ui"]
    shown = command(project, "train", *said["train"])
    assert "nets.build on" in shown and "epoch 2/2" in shown, shown
    shown = command(project, "sweep", *said["sweep"])
    best = r"best: unet3d train --config-dir \S+/mine/conf experiment=first \S*model.params.width="
    assert re.search(best, shown), shown
    assert "index.html" in command(project, "report", "sweep=widths")
    command(project, "predict", *said["predict"])
    assert (project / "seg.nii.gz").is_file()
    shown = command(project, "runs", *said["runs"])
    assert shown.count("FINISHED") == 4, shown  # three runs and the sweep
    assert "unet3d train parallel=data nodes=4" in command(tmp_path, "train", "--help")


def commands_of(page: Path) -> list[list[str]]:
    """The commands in the code blocks of a page."""
    (_, *blocks) = page.read_text().split("```\n")
    lines = [line for block in blocks[::2] for line in block.splitlines()]
    return [shlex.split(line) for line in lines if line.startswith("unet3d ")]
