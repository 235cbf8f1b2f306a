"""`unet3d scaling`: arithmetic, and a small study that is killed and goes on."""

from __future__ import annotations

import csv
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from mlflow import MlflowClient

from unet3d import machine
from unet3d.cli import main
from unet3d.config.schema import ScalingConfig, StudyConfig
from unet3d.errors import ConfigError, RunError
from unet3d.scaling.study import plan_study
from unet3d.scaling.study_forecast import forecast_cells
from unet3d.scaling.study_report import CellResult, summarised


def test_speed_ups_are_of_medians_against_one_device() -> None:
    """Three repeats of 90, 100 and 120 s against 200 s: twice as fast, with a spread of 30 %."""

    def cell(devices: int, repeat: int, seconds: float) -> CellResult:
        return CellResult("experiment", devices, repeat, seconds, 4, 5.0, {"step": seconds / 2})

    results = [cell(1, 0, 200.0), *(cell(2, n, s) for n, s in enumerate((120.0, 90.0, 100.0)))]
    alone, two = summarised(results)
    assert (alone.speedup, two.seconds, two.speedup) == (1.0, 100.0, 2.0)
    assert two.spread == pytest.approx(0.3) and two.parts == {"step": 50.0}
    with pytest.raises(RunError, match="nothing is measured on one device"):
        summarised(results[1:])


def test_a_grid_brings_its_own_trials(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The paper's 32 trials, on a share of their epochs; batch 2 is then that of a replica."""
    monkeypatch.setattr(machine, "cores", lambda: 32)
    typed = ["experiment=paper_grid", f"output_dir={tmp_path}"]
    settings = ScalingConfig([1, 32], ["data"], StudyConfig(fraction=0.05))
    plan = plan_study(settings, typed)
    assert (plan.facts.trials, plan.seeds, plan.facts.weak) == (32, 0, True)
    assert {one.epochs for one in plan.configs} == {13} and len(plan.configs) == 32
    with pytest.raises(ConfigError, match="lacks 1, against which speed-ups are counted"):
        plan_study(ScalingConfig([32], ["data"], StudyConfig(name="other")), typed)
    settings.scaling.trials = 4
    with pytest.raises(ConfigError, match="the trials are the 32 of the grid; leave it out"):
        plan_study(settings, typed)


def test_a_study_that_is_killed_goes_on(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """kill -9 in its second part: the first stays as it was measured, and all lies in one run."""
    typed = ["scaling", "experiment=smoke", "scaling.trials=2", f"output_dir={tmp_path}"]
    typed += ["devices=1,2", "modes=experiment"]
    folder = tmp_path / "scaling" / "study"
    first = folder / "cells" / "experiment-1-0.json"
    with subprocess.Popen([sys.executable, "-m", "unet3d.cli", *typed]) as study:
        deadline = time.monotonic() + 400
        while not (tmp_path / "sweeps" / "study-experiment-2-0").exists():
            assert study.poll() is None and time.monotonic() < deadline
            time.sleep(0.2)
        os.kill(study.pid, signal.SIGKILL)
    before = first.read_bytes()
    main(typed)
    assert first.read_bytes() == before
    rows = list(csv.DictReader((folder / "table.csv").open()))
    assert [row["devices"] for row in rows] == ["1", "2"]
    assert float(rows[0]["speedup"]) == 1 and float(rows[1]["step"]) > 0
    page = (folder / "index.html").read_text()
    assert "2 trials, measured; global batch fixed" in page and f"{machine.cores()} cores" in page
    check_record(tmp_path, json.loads((folder / "record.json").read_text())["run_id"], rows)
    settings = ScalingConfig([1, 2], ["experiment", "data"], StudyConfig(trials=2))
    plan = plan_study(settings, ["experiment=smoke", f"output_dir={tmp_path}"])
    forecasts = forecast_cells(plan.cells, plan.configs, 2, "study", plan.devices, weak=False)
    assert set(forecasts) == {"experiment-1-0", "experiment-2-0", "data-2-0"}
    assert 0 < forecasts["experiment-2-0"] < forecasts["experiment-1-0"]
    with pytest.raises(SystemExit):
        main([*typed, "scaling.trials=3"])
    assert "is a study with other settings: trials was 2, and is 3" in capsys.readouterr().err


def check_record(output_dir: Path, run_id: str, rows: list[dict[str, str]]) -> None:
    """The study's run has results, speed-ups and, below it, the sweeps of all parts."""
    store = MlflowClient(f"sqlite:///{output_dir / 'mlflow.db'}")
    run = store.get_run(run_id)
    assert run.info.status == "FINISHED" and "cores" in run.data.tags["study.machine"]
    (last,) = [m for m in store.get_metric_history(run_id, "speedup/experiment") if m.step == 2]
    assert last.value == pytest.approx(float(rows[1]["speedup"]))
    kept = {artifact.path for artifact in store.list_artifacts(run_id)}
    assert {"table.csv", "speedup.png", "speedup.pdf", "time.png", "index.html"} <= kept
    (experiment,) = {run.info.experiment_id}
    below = store.search_runs([experiment], f"tags.`mlflow.parentRunId` = '{run_id}'")
    assert {one.data.tags["sweep.name"] for one in below} >= {
        "study-experiment-1-0",
        "study-experiment-2-0-2",
    }
