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

from tests.e2e.commands import free_port
from unet3d import machine
from unet3d.cli import main
from unet3d.config.schema import ScalingConfig, StudyConfig
from unet3d.errors import ConfigError, RunError
from unet3d.scaling.study import plan_study
from unet3d.scaling.study_forecast import forecast_cells
from unet3d.scaling.study_report import CellResult, StudyFacts, summarised


def test_speed_ups_are_of_medians_against_one_device() -> None:
    """Three repeats of 90, 100 and 120 s against 200 s: twice as fast, with a spread of 30 %."""

    def cell(devices: int, repeat: int, seconds: float) -> CellResult:
        return CellResult("experiment", devices, repeat, seconds, 4, 5.0, {"step": seconds / 2})

    results = [cell(1, 0, 200.0), *(cell(2, n, s) for n, s in enumerate((120.0, 90.0, 100.0)))]
    alone, two = summarised(results)
    assert (alone.speedup, two.seconds, two.speedup) == (1.0, 100.0, 2.0)
    assert two.spread == pytest.approx(0.3) and two.parts == {"step": 50.0}
    facts = StudyFacts("two", ["data.patch=[8,8,8]"], 4, 0.5, False, "2 cores")
    assert facts.command(results) == (
        "unet3d scaling 'data.patch=[8,8,8]' devices=1,2 modes=experiment scaling.trials=4 "
        "scaling.weak=false scaling.name=two scaling.fraction=0.5 scaling.repeats=3"
    )
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


# The paper's grid on phantoms: two of its trials, with the smallest network.
TINY_GRID = (
    *("experiment=paper_grid", "lr=1e-3", "model.norm=group", "optimizer.amsgrad=false"),
    *("data=phantom", "data.patch=[16,16,16]", "data.pad_to_patch=false"),
    *("data.phantom.cases=4", "data.phantom.shape=[32,32,24]", "data.phantom.spacing=[5,5,5]"),
    *("data.split={train:0.5,val:0.25,test:0.25}", "data.patches_per_case=1"),
    *("model.filters=2", "model.depth=2"),
)


def test_the_papers_study_is_killed_and_goes_on(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """kill -9 in its second part: the first stays as it was measured, and all lies in one run.

    One MLflow server records both parts, and another one what follows, as tracking=server says.
    """
    port = free_port()
    typed = ["scaling", *TINY_GRID, "scaling.fraction=0.004", f"output_dir={tmp_path}"]
    typed += ["devices=1,2", "modes=experiment", "tracking=server", f"tracking.port={port}"]
    folder = tmp_path / "scaling" / "study"
    first = folder / "cells" / "experiment-1-0.json"
    with subprocess.Popen([sys.executable, "-m", "unet3d.cli", *typed]) as study:
        deadline = time.monotonic() + 400
        while not (tmp_path / "sweeps" / "study-experiment-2-0").exists():
            assert study.poll() is None and time.monotonic() < deadline
            time.sleep(0.2)
        run_id = json.loads((folder / "record.json").read_text())["run_id"]
        served = MlflowClient(f"http://127.0.0.1:{port}").get_run(run_id)
        assert served.data.tags["study"] == "study" and served.info.status == "RUNNING"
        os.kill(study.pid, signal.SIGKILL)
    before = first.read_bytes()
    main(typed)
    assert first.read_bytes() == before
    rows = list(csv.DictReader((folder / "table.csv").open()))
    assert [row["devices"] for row in rows] == ["1", "2"]
    assert float(rows[0]["speedup"]) == 1 and float(rows[1]["step"]) > 0
    page = (folder / "index.html").read_text()
    assert "2 trials, measured; batch of a replica fixed" in page  # as the paper does
    assert f"{machine.cores()} cores" in page
    kind = rows[0]["device"]
    assert kind.startswith("a core of ") and f"a device is {kind}" in page
    assert json.loads((folder / "results.json").read_text())["device"] == kind
    check_record(tmp_path, json.loads((folder / "record.json").read_text())["run_id"], rows)
    settings = ScalingConfig([1, 2], ["experiment", "data"], StudyConfig(fraction=0.004))
    own = [*TINY_GRID, "tracking=server", f"tracking.port={port}", f"output_dir={tmp_path}"]
    plan = plan_study(settings, own)
    forecasts = forecast_cells(plan.cells, plan.configs, 2, "study", plan.devices, weak=False)
    assert set(forecasts) == {"experiment-1-0", "experiment-2-0", "data-2-0"}
    assert 0 < forecasts["experiment-2-0"] < forecasts["experiment-1-0"]
    with pytest.raises(SystemExit):
        main([*typed, "lr=1e-2"])
    assert "is a study with other settings: overrides was" in capsys.readouterr().err


def check_record(output_dir: Path, run_id: str, rows: list[dict[str, str]]) -> None:
    """The study's run has results, speed-ups and, below it, the sweeps of all parts."""
    store = MlflowClient(f"sqlite:///{output_dir / 'mlflow.db'}")
    run = store.get_run(run_id)
    assert run.info.status == "FINISHED" and "cores" in run.data.tags["study.machine"]
    assert run.data.tags["study.device"].startswith("a core of ")
    (last,) = [m for m in store.get_metric_history(run_id, "speedup/experiment") if m.step == 2]
    assert last.value == pytest.approx(float(rows[1]["speedup"]))
    kept = {path.name for path in (output_dir / "mlartifacts").glob(f"*/{run_id}/artifacts/*")}
    assert {"table.csv", "speedup.png", "speedup.pdf", "time.png", "index.html"} <= kept
    (experiment,) = {run.info.experiment_id}
    below = store.search_runs([experiment], f"tags.`mlflow.parentRunId` = '{run_id}'")
    assert {one.data.tags["sweep.name"] for one in below} >= {
        "study-experiment-1-0",
        "study-experiment-2-0-2",
    }


def test_data_that_are_not_there_are_named_before_any_part(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """In one line; no study has begun in MLflow."""
    with pytest.raises(SystemExit) as ended:
        main(["scaling", "experiment=paper_grid", "data.root=none", f"output_dir={tmp_path}"])
    assert ended.value.code == 2
    assert capsys.readouterr().err.splitlines()[-1].startswith("error: none/dataset.json: no such")
    assert not (tmp_path / "mlflow.db").exists() and not (tmp_path / "sweeps").exists()
