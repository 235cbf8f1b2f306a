"""A sweep's long trial grows when the short ones have ended: the same result, and nothing lost."""

from __future__ import annotations

import json
import subprocess
import time
from contextlib import suppress
from pathlib import Path

import numpy as np
import psutil
import pytest
from mlflow import MlflowClient
from mlflow.entities import Run

from tests.e2e.commands import run, start, train, wait_for
from tests.processes import running_below
from unet3d.sweep.sweep_folder import SweepFolder, TrialRecord

EPOCHS = 16
EAGER = "tests/e2e/eager_sweep.py"
SMALL = (
    *("experiment=smoke", "validation.overlap=0", "tracking.system_metrics=false"),
    *("batch_size=4", "optimizer.epsilon=1e-4", "steps_per_epoch=30", "sweep.name=tail"),
)
GROUP = ("-m", *SMALL, "model.norm=group", f"epochs=1,{EPOCHS}")
GROWS = f"(epochs={EPOCHS}) regrouped after epoch"


def sweep(folder: Path) -> tuple[int, str]:
    """The sweep to its end; exit code and output."""
    return run(folder, base=GROUP, program=EAGER)


def start_sweep(folder: Path) -> subprocess.Popen[str]:
    return start(folder, base=GROUP, program=EAGER)


def long_trial(folder: Path) -> TrialRecord:
    """What is kept of the trial that grew."""
    trials = SweepFolder(folder / "outputs" / "sweeps" / "tail").trials()
    return next(trial for trial in trials if trial.swept["epochs"] == str(EPOCHS))


def long_run(folder: Path) -> tuple[Run, list[int]]:
    """Its run in MLflow, and the epochs of val/dice there."""
    store = MlflowClient(f"sqlite:///{folder / 'outputs' / 'mlflow.db'}")
    found = store.get_run(long_trial(folder).result.run_id)
    history = store.get_metric_history(found.info.run_id, "val/dice")
    return found, sorted(entry.step for entry in history)


@pytest.fixture(scope="module")
def alone(tmp_path_factory: pytest.TempPathFactory) -> list[dict[str, float]]:
    """The metrics of each epoch of the same training on one device."""
    folder = tmp_path_factory.mktemp("alone")
    settings = (o for o in SMALL if not o.startswith("sweep."))
    code, told = train(folder, "model.norm=group", f"epochs={EPOCHS}", base=tuple(settings))
    assert code == 0, told
    (path,) = (folder / "outputs" / "runs").iterdir()
    with np.load(path / "checkpoints" / "last.npz") as file:
        history = json.loads(file["progress"].tobytes().decode())["history"]
    return [record["metrics"] for record in history]


def assert_same(folder: Path, alone: list[dict[str, float]]) -> None:
    """Every epoch once, with the losses and val/dice of the undisturbed run."""
    trial = long_trial(folder)
    assert (trial.result.state, [one["epoch"] for one in trial.epochs]) == (
        "finished",
        [*range(1, EPOCHS + 1)],
    )
    ours = [record["metrics"] for record in trial.epochs]
    losses = [[one["train/loss"] for one in epochs] for epochs in (ours, alone)]
    np.testing.assert_allclose(losses[0], losses[1], rtol=0, atol=1e-4)
    dice = [[one["val/dice"] for one in epochs] for epochs in (ours, alone)]
    np.testing.assert_allclose(dice[0], dice[1], rtol=0, atol=1e-3)
    found, epochs = long_run(folder)
    assert found.info.status == "FINISHED" and epochs == [*range(1, EPOCHS + 1)]


def test_the_long_trial_grows_to_the_same_result(
    tmp_path: Path, alone: list[dict[str, float]]
) -> None:
    """In the same run, tagged, and as no failure, retry or pruning."""
    code, told = sweep(tmp_path)
    assert code == 0 and "Traceback" not in told, told
    assert told.index(f"(epochs={EPOCHS}) starts") < told.index(
        "(epochs=1) starts"
    )  # longest first
    assert f"trial 1 {GROWS}" in told and "1 -> 2 devices" in told
    assert_same(tmp_path, alone)
    found, _epochs = long_run(tmp_path)
    (epoch, before, after), *others = json.loads(grown_file(tmp_path).read_text())
    assert (before, after, others) == (1, 2, [])
    assert found.data.tags["sweep.grown"] == f"epoch {epoch}: 1 -> 2 devices"
    assert found.data.tags["parallel.workers"] == "2"
    assert "unet3d.reason" not in found.data.tags and "sweep.pruned" not in found.data.tags
    assert long_trial(tmp_path).result.attempts == 1


def grown_file(folder: Path) -> Path:
    (path,) = (folder / "outputs" / "sweeps" / "tail" / "trials").glob("*/grown")
    return path


def test_killed_during_the_change(tmp_path: Path, alone: list[dict[str, float]]) -> None:
    """kill -9 of the sweep while its trial regroups, then of a worker of the group: all is kept."""
    process = start_sweep(tmp_path)
    wait_for(tmp_path, GROWS, process)
    process.kill()
    process.wait()
    process = start_sweep(tmp_path)
    wait_for(tmp_path, "resumed", process)
    wait_for_second(tmp_path, GROWS, process)
    kill_a_group_worker(process.pid)
    wait_for(tmp_path, "it starts again from its checkpoint, which counts as no retry", process)
    assert process.wait(timeout=400) == 0, (tmp_path / "output").read_text()
    assert_same(tmp_path, alone)


def wait_for_second(folder: Path, text: str, process: subprocess.Popen[str]) -> None:
    """Until `text` is in the output again."""
    deadline = time.monotonic() + 300
    while (told := (folder / "output").read_text()).count(text) < 2:
        assert process.poll() is None and time.monotonic() < deadline, told
        time.sleep(0.05)


def kill_a_group_worker(driver: int) -> None:
    """kill -9 one of the workers that train together, as soon as there is one."""
    deadline = time.monotonic() + 300
    while time.monotonic() < deadline:
        for process in running_below(driver, "GroupWorker"):
            with suppress(psutil.NoSuchProcess):  # it has ended meanwhile
                process.kill()
                return
        time.sleep(0.05)
    raise AssertionError("no worker of a group")
