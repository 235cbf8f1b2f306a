"""The presets for those who develop, as they type them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
from mlflow import MlflowClient

from tests.e2e.commands import only_run, train


def history(folder: Path) -> list[dict[str, Any]]:
    """The metrics of each epoch of the one run."""
    with np.load(only_run(folder) / "checkpoints" / "last.npz") as file:
        records = json.loads(file["progress"].tobytes().decode())["history"]
    return [record["metrics"] for record in records]


def test_overfit_learns_its_batch(tmp_path: Path) -> None:
    """The loss falls to a fraction and the Dice of the one batch nears 1; one case is validated."""
    code, output = train(tmp_path, "debug=overfit", "tracking=none")
    assert code == 0, output
    epochs = history(tmp_path)
    assert epochs[-1]["train/loss"] < 0.3 * epochs[0]["train/loss"]
    assert epochs[-1]["train/dice"] > 0.9
    assert ["val/dice" in metrics for metrics in epochs] == [False] * 9 + [True]


def test_limit_goes_through_everything_in_two_steps(tmp_path: Path) -> None:
    """Training, validation, checkpoint, pictures and the record, in an experiment of their own."""
    volumes = "data.phantom.shape=[48,48,48]"  # a patch of 32^3 fits into the cropped ones
    code, output = train(tmp_path, "debug=limit", volumes)
    assert code == 0, output
    run = only_run(tmp_path)
    with np.load(run / "checkpoints" / "last.npz") as file:
        progress = json.loads(file["progress"].tobytes().decode())
    assert (progress["step"], len(progress["history"])) == (2, 1)
    assert (run / "figures" / "validation.png").exists()
    client = MlflowClient(f"sqlite:///{tmp_path / 'outputs' / 'mlflow.db'}")
    recorded = client.get_run(run.name)
    assert recorded.info.status == "FINISHED" and "val/dice" in recorded.data.metrics
    assert client.get_experiment(recorded.info.experiment_id).name == "debug"


def test_profile_writes_a_trace_of_ten_steps(tmp_path: Path) -> None:
    """TensorBoard's file is in the run's folder, and holds the steps by their numbers."""
    code, output = train(tmp_path, "debug=profile", "tracking=none")
    assert code == 0, output
    assert "traced 10 steps" in output
    (trace,) = (only_run(tmp_path) / "trace").glob("plugins/profile/*/*.xplane.pb")
    assert b"train_step" in trace.read_bytes()
