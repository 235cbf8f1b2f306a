"""The suite's own order: tests that need the machine's one rig never run beside each other."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

from tests import REPOSITORY

# Each test writes which worker ran it.
TEST = """
import os, pathlib, time
def test_it():
    time.sleep(0.1)
    name = pathlib.Path(__file__).stem
    pathlib.Path(os.environ["WORKERS"], name).write_text(os.environ["PYTEST_XDIST_WORKER"])
"""


def test_one_worker_has_all_tests_of_the_rig(tmp_path: Path) -> None:
    """Whatever other files there are, by the command and the settings of the whole suite."""
    (tmp_path / "workers").mkdir()
    (tmp_path / "tests" / "rig").mkdir(parents=True)
    (tmp_path / "tests" / "models").mkdir()
    shutil.copy(REPOSITORY / "tests" / "conftest.py", tmp_path / "tests")
    shutil.copy(REPOSITORY / "pyproject.toml", tmp_path)
    for number in range(4):
        (tmp_path / "tests" / "rig" / f"test_rig_{number}.py").write_text(TEST)
        (tmp_path / "tests" / "models" / f"test_model_{number}.py").write_text(TEST)
    # Those of the run that this test is part of would be taken for its own.
    environment = {name: v for name, v in os.environ.items() if not name.startswith("PYTEST_")}
    told = subprocess.run(
        [sys.executable, "-m", "pytest", "-p", "no:cacheprovider"],
        cwd=tmp_path,
        env=environment | {"WORKERS": str(tmp_path / "workers"), "PYTHONPATH": str(REPOSITORY)},
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert told.returncode == 0, told.stdout + told.stderr
    workers = {file.name: file.read_text() for file in (tmp_path / "workers").iterdir()}
    assert len(workers) == 8
    assert len({worker for name, worker in workers.items() if "rig" in name}) == 1
    assert len(set(workers.values())) == 2
