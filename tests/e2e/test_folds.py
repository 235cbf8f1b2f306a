"""A sweep over folds as a user types it: compared, grouped in MLflow, made one model, ended."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
from mlflow import MlflowClient

from tests.e2e.commands import SMALL, run

FOLDS = (
    *("-m", *SMALL, "tracking.system_metrics=false", "data.phantom.cases=6"),
    *("lr=1e-2,1e-4", "sweep.folds=2", "sweep.name=folds", "sweep.forecast=false"),
)


@dataclass(frozen=True)
class Swept:
    """The folder in which the sweep was typed, and what that said."""

    folder: Path
    said: str


@pytest.fixture(scope="module")
def swept(tmp_path_factory: pytest.TempPathFactory) -> Swept:
    """Two rates on two folds."""
    folder = tmp_path_factory.mktemp("folds")
    code, said = run(folder, *FOLDS, base=(), program="sweep.py")
    assert code == 0 and "all over: 4 finished" in said, said
    return Swept(folder, said)


def unet3d(folder: Path, name: str, *arguments: str) -> tuple[int, str]:
    """The `unet3d` command, of this sweep."""
    typed = (name, "sweep=folds", *arguments)
    return run(folder, *typed, base=(), program="unet3d/cli/__main__.py")


def test_folds_are_compared_and_grouped(swept: Swept) -> None:
    """Four trials below two configurations."""
    tmp_path, said = swept.folder, swept.said
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


def test_the_ensemble_is_evaluated_once_and_exported(swept: Swept) -> None:
    """On the test cases, by the weighted mean of its runs; an MLflow model segments as predict."""
    import mlflow

    folder, chosen = swept.folder, ("configuration=ensemble",)
    code, said = unet3d(folder, "evaluate", *chosen, "part=test")
    assert code == 2 and "type unet3d ensemble sweep=folds" in said, said
    code, said = unet3d(folder, "ensemble")
    assert code == 0, said
    kept = json.loads((folder / "outputs/sweeps/folds/ensemble.json").read_text())
    code, said = unet3d(folder, "evaluate", *chosen, "part=test")
    assert code == 0, said
    results = folder / "outputs" / "sweeps" / "folds" / "ensemble" / "test"
    summary = json.loads((results / "summary.json").read_text())
    assert summary and (results / "predictions").is_dir()
    code, said = unet3d(folder, "evaluate", *chosen, "part=test")
    assert code == 2 and "were evaluated before" in said, said
    code, said = unet3d(folder, "export", *chosen, "output=one", "format=mlflow", "register=one")
    assert code == 0 and "read back" in said, said
    model = mlflow.pyfunc.load_model(str(folder / "one" / "mlflow"))
    inner = model.unwrap_python_model()
    assert {network.run: network.weight for network in inner.networks} == kept["weights"]
    (expected, *_) = sorted((results / "predictions").glob("*.nii.gz"))
    (scan,) = folder.glob(f"outputs/phantom*/imagesTr/{expected.name}")
    (labels,) = model.predict([{"input": str(scan)}])
    import nibabel

    np.testing.assert_array_equal(labels, np.asarray(nibabel.load(expected).dataobj))
    store = MlflowClient(f"sqlite:///{folder / 'outputs' / 'mlflow.db'}")
    top = json.loads((folder / "outputs/sweeps/folds/sweep.json").read_text())["run_id"]
    assert store.get_model_version("one", "1").run_id == top
    assert "test/dice" in store.get_run(top).data.metrics


def test_what_was_used_up_begins_no_other(swept: Swept) -> None:
    """A budget counts what earlier commands of the sweep have taken."""
    tmp_path = swept.folder
    again = (*FOLDS, "sweep.seeds=2", "sweep.budget=1e-6")
    code, said = run(tmp_path, *again, base=(), program="sweep.py")
    assert code == 2 and "error: sweep.budget: 1e-06 device hours are used up" in said
