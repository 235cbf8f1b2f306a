import json
import os
import subprocess
import sys
from pathlib import Path

from tests import REPOSITORY


def run(folder: Path, *arguments: str) -> list[dict]:
    for name in ("ray", "mlflow"):  # not installed on the machine that it is for
        (folder / f"{name}.py").write_text(f"raise ImportError('{name} is not here')\n")
    out = folder / "gpu_day.json"
    command = [
        sys.executable,
        str(REPOSITORY / "benchmarks/gpu_day.py"),
        "--smoke",
        "--out",
        str(out),
    ]
    environment = os.environ | {"PYTHONPATH": str(folder), "CUDA_VISIBLE_DEVICES": "-1"}
    subprocess.run([*command, *arguments], env=environment, cwd=folder, check=True)
    return json.loads(out.read_text())


def test_every_kind_of_measurement_runs_without_ray_and_mlflow(tmp_path):
    rows = run(tmp_path, "--only", "step/mixed_bfloat16+xla", "trials/two", "windows/float32")
    assert [row["name"] for row in rows] == [
        "step/mixed_bfloat16+xla/16",
        "trials/two/16",
        "trials/two/16",
        "windows/float32/16",
    ]
    for row in rows:
        assert row["device"] == "CPU" and row["tensorflow"] and "error" not in row, row
    assert all(0 < row["measured"]["last_loss"] < 5 for row in rows[:3])
    assert rows[3]["measured"]["windows_per_s"] > 0


def test_one_that_crashes_loses_only_itself(tmp_path):
    for name in ("keras", "tensorflow"):
        (tmp_path / f"{name}.py").write_text("raise ImportError('broken on purpose')\n")
    rows = run(tmp_path, "--only", "step/float32/16", "trials/two")
    assert len(rows) == 3
    assert "broken on purpose" in rows[0]["stderr"][-1]
    assert all("error" in row for row in rows)


def test_out_of_time_is_a_row_that_says_so(tmp_path):
    (row,) = run(tmp_path, "--only", "step/float32/16", "--minutes", "0")
    assert row["error"] == "not begun, for want of time"
