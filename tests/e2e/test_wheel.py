"""The wheel, in an environment apart and an empty folder: what a pip user types."""

from __future__ import annotations

import os
import subprocess
import sys
import sysconfig
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.e2e.commands import REPOSITORY, only_run

Command = Callable[..., str]
PRESET = """\
# @package _global_
defaults: [smoke]
lr: 0.005
"""


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
    clean = {key: value for key, value in os.environ.items() if key != "PYTHONPATH"}
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


def test_a_pip_user_sweeps_trains_on_reports_and_predicts(tmp_path: Path, command: Command) -> None:
    """With a preset of their own; the commands that are shown are those that they can type."""
    preset = tmp_path / "own" / "experiment" / "mine.yaml"
    preset.parent.mkdir(parents=True)
    preset.write_text(PRESET)
    own = ("--config-dir", str(tmp_path / "own"))
    search = ("lr=1e-2", "sweep.name=s", "tracking.system_metrics=false")
    told = command(tmp_path, "sweep", *own, "-m", "experiment=mine", *search)
    assert f"best: unet3d train {' '.join(own)} experiment=mine lr=0.01" in told, told
    run_id = only_run(tmp_path).name
    told = command(tmp_path, "train", f"resume={run_id}", "epochs=2")
    assert "resumed after step" in told and "epoch 2/2" in told, told
    assert "index.html" in command(tmp_path, "report", "sweep=s")
    (scan,) = [*(tmp_path / "outputs" / "phantom_smoke" / "imagesTr").glob("*.nii.gz")][:1]
    command(tmp_path, "predict", f"run={run_id}", f"input={scan}", "output=seg.nii.gz")
    assert (tmp_path / "seg.nii.gz").is_file()
    assert "unet3d train parallel=data nodes=4" in command(tmp_path, "train", "--help")
