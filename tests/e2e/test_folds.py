"""A sweep over folds as a user types it: compared, grouped in MLflow, ended by its budget."""

from __future__ import annotations

import json
from pathlib import Path

from mlflow import MlflowClient

from tests.e2e.commands import SMALL, run

FOLDS = (
    *("-m", *SMALL, "tracking.system_metrics=false", "data.phantom.cases=6"),
    *("lr=1e-2,1e-4", "sweep.folds=2", "sweep.name=folds", "sweep.forecast=false"),
)


def test_folds_are_compared_and_grouped_and_end_with_the_budget(tmp_path: Path) -> None:
    """Four trials below two configurations; what was used up begins no other."""
    code, said = run(tmp_path, *FOLDS, base=(), program="sweep.py")
    assert code == 0 and "all over: 4 finished" in said, said
    assert "result: lr=" in said and "over the means of the folds" in said
    folder = tmp_path / "outputs" / "sweeps" / "folds"
    stored = json.loads((folder / "report" / "results.json").read_text())
    assert len(stored["configurations"]) == 2 and len(stored["trials"]) == 4
    assert all(trial["device_hours"] > 0 for trial in stored["trials"])
    assert all(trial["peak_memory_gb"] >= 0 for trial in stored["trials"])
    assert "case by case" in " ".join(stored["method"])
    store = MlflowClient(f"sqlite:///{tmp_path / 'outputs' / 'mlflow.db'}")
    experiment = store.get_experiment_by_name("unet3d")
    assert experiment is not None
    runs = store.search_runs([experiment.experiment_id])
    parents = {run.info.run_id: run.data.tags.get("mlflow.parentRunId") for run in runs}
    groups = [run for run in runs if "sweep.configuration" in run.data.tags]
    (top,) = [run_id for run_id, parent in parents.items() if parent is None]
    assert [parents[group.info.run_id] for group in groups] == [top, top]
    for group in groups:
        assert list(parents.values()).count(group.info.run_id) == 2
        assert "val/dice" in group.data.metrics and group.info.status == "FINISHED"
    again = (*FOLDS, "sweep.seeds=2", "sweep.budget=1e-6")
    code, said = run(tmp_path, *again, base=(), program="sweep.py")
    assert code == 2 and "error: sweep.budget: 1e-06 device hours are used up" in said
