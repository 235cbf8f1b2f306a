"""`python train.py` as a user types it: the run, the kill, the resume, the tracking store."""

from __future__ import annotations

import json
import signal
import socket
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from mlflow import MlflowClient

from tests.e2e.commands import free_port, only_run, start, train, wait_for
from unet3d.training.run_times import PARTS

FOUR_EPOCHS = ("epochs=4", "steps_per_epoch=25", "augment=light")


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Four epochs in one go, recorded in outputs/mlflow.db."""
    folder = tmp_path_factory.mktemp("undisturbed")
    code, told = train(folder, *FOUR_EPOCHS, "tracking.system_interval=0.5")
    assert code == 0, told
    return folder


def client(folder: Path) -> MlflowClient:
    return MlflowClient(f"sqlite:///{folder / 'outputs' / 'mlflow.db'}")


def checkpoint(folder: Path) -> dict[str, np.ndarray]:
    with np.load(only_run(folder) / "checkpoints" / "last.npz") as file:
        return {name: file[name] for name in file.files}


def assert_same_training(folder: Path, reference: Path) -> None:
    """Weights, optimizer and losses of two runs are equal to 1e-6."""
    ours, theirs = checkpoint(folder), checkpoint(reference)
    histories = [
        json.loads(arrays.pop("progress").tobytes().decode())["history"]
        for arrays in (ours, theirs)
    ]
    for name in theirs:
        np.testing.assert_allclose(ours[name], theirs[name], rtol=0, atol=1e-6, err_msg=name)
    losses = [[r["metrics"]["train/loss"] for r in history] for history in histories]
    np.testing.assert_allclose(losses[0], losses[1], atol=1e-6)


def assert_recorded_once(store: MlflowClient, run_id: str, epochs: int) -> None:
    """FINISHED, and each epoch's metrics are there exactly once."""
    assert store.get_run(run_id).info.status == "FINISHED"
    for metric in ("train/loss", "val/dice", "val/dice_whole_tumour"):
        steps = [entry.step for entry in store.get_metric_history(run_id, metric)]
        assert sorted(steps) == list(range(1, epochs + 1)), metric


def test_run_is_recorded_whole(undisturbed: Path) -> None:
    """Params, tags, metrics, system metrics and artifacts are in the MLflow store."""
    store, run_id = client(undisturbed), only_run(undisturbed).name
    run = store.get_run(run_id)
    assert_recorded_once(store, run_id, 4)
    assert run.data.params["lr"] == "0.001"
    assert run.data.params["optimizer.beta_2"] == "0.999"
    assert {"git.dirty", "host", "device", "data.digest"} <= run.data.tags.keys()
    expected = {"train/loss", "val/loss", "val/dice", "perf/step_ms", "perf/data_wait_pct"}
    assert expected <= run.data.metrics.keys()
    assert any(name.startswith("system/") for name in run.data.metrics)
    artifacts = {
        entry.path
        for folder in (None, "config", "model", "data", "log")
        for entry in store.list_artifacts(run_id, folder)
    }
    assert {
        "config/config.yaml",
        "model/best.weights.h5",
        "validation.png",
        "learning_curves.png",
        "log/train.log",
    } <= artifacts
    assert any(path.startswith("data/") for path in artifacts)


def test_parts_of_the_time_add_up_to_all_of_it(undisturbed: Path) -> None:
    """Each part has a clock of its own, and all of it another, from the process' start to its end.

    In each part there is something, so that none is another's rest.
    """
    store, run_id = client(undisturbed), only_run(undisturbed).name
    names = [f"perf/{part}_s" for part in PARTS]
    spent = {
        name: sum(entry.value for entry in store.get_metric_history(run_id, name)) for name in names
    }
    (wall,) = [entry.value for entry in store.get_metric_history(run_id, "perf/wall_s")]
    assert 0.98 * wall <= sum(spent.values()) <= 1.0001 * wall, (spent, wall)
    assert all(spent[name] > 0 for name in names if name != "perf/allreduce_s"), spent
    validated = [entry.step for entry in store.get_metric_history(run_id, "perf/validate_s")]
    assert validated == [1, 2, 3, 4]


def test_kill_and_resume_equal_an_undisturbed_run(tmp_path: Path, undisturbed: Path) -> None:
    """Killed with -9 after epoch 2 and resumed, a run ends with the weights of one that was not."""
    process = start(tmp_path, *FOUR_EPOCHS)
    wait_for(tmp_path, "epoch 2/4", process)
    process.kill()
    assert process.wait() == -signal.SIGKILL
    run_id = only_run(tmp_path).name
    code, told = train(tmp_path, f"resume={run_id}", base=())
    assert code == 0, told
    assert_same_training(tmp_path, undisturbed)
    assert_recorded_once(client(tmp_path), run_id, 4)


def test_sigterm_saves_and_says_how_to_go_on(tmp_path: Path, undisturbed: Path) -> None:
    """The run ends as KILLED, with the command that goes on in the middle of the epoch."""
    process = start(tmp_path, *FOUR_EPOCHS)
    wait_for(tmp_path, "epoch 1/4", process)
    process.terminate()
    assert process.wait(timeout=400) == 128 + signal.SIGTERM
    run_id = only_run(tmp_path).name
    told = (tmp_path / "output").read_text()
    assert f"go on with: python train.py resume={run_id}" in told
    assert client(tmp_path).get_run(run_id).info.status == "KILLED"
    code, told = train(tmp_path, f"resume={run_id}", base=())
    assert code == 0, told
    assert_same_training(tmp_path, undisturbed)
    assert_recorded_once(client(tmp_path), run_id, 4)


@pytest.mark.parametrize(
    ("overrides", "told"),
    [
        (["batch_size=0"], "error: batch_size: 0 is not possible; it must be 1 or more"),
        (["data.patch=[17,16,16]"], "error: data.patch: [17, 16, 16] is not divisible by 8"),
        (["data=msd", "data.root=nowhere"], "error: nowhere/dataset.json: no such folder"),
        (["resume=abc"], "error: resume: abc is not a run in outputs/runs"),
    ],
)
def test_bad_input_is_one_line_and_exit_code_2(
    tmp_path: Path, overrides: list[str], told: str
) -> None:
    """No traceback, nothing but the line, no run left behind."""
    code, output = train(tmp_path, *overrides, base=())
    assert code == 2
    assert output.startswith(told) and output.count("\n") == 1
    assert not (tmp_path / "outputs" / "runs").exists()


def test_help_and_settings_are_printed(tmp_path: Path) -> None:
    """--help lists groups and examples, --cfg job the composed settings."""
    _, told = train(tmp_path, "--help", base=())
    assert "model: " in told and "python train.py resume=<run id>" in told
    _, told = train(tmp_path, "--cfg", "job", "optimizer=sgd", base=())
    assert "momentum: 0.99" in told


def serve(folder: Path, port: int) -> subprocess.Popen[str]:
    """A real MLflow server on its own data base."""
    return subprocess.Popen(
        [
            *(sys.executable, "-m", "mlflow", "server", "--workers", "1", "--port", str(port)),
            *("--backend-store-uri", f"sqlite:///{folder}/server.db"),
            *("--artifacts-destination", str(folder / "artifacts")),
        ],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
        text=True,
    )


def stop(server: subprocess.Popen[str]) -> None:
    import os

    os.killpg(server.pid, signal.SIGKILL)
    server.wait()


def wait_until_up(port: int) -> None:
    import time

    for _ in range(600):
        with socket.socket() as probe:
            if probe.connect_ex(("127.0.0.1", port)) == 0:
                return
        time.sleep(0.2)
    raise AssertionError("the MLflow server did not start")


def test_tracking_that_goes_away_loses_nothing(tmp_path: Path) -> None:
    """The server dies during the training and comes back: every epoch is there, once."""
    port = free_port()
    server = serve(tmp_path, port)
    try:
        wait_until_up(port)
        uri = f"http://127.0.0.1:{port}"
        long = ("epochs=5", "steps_per_epoch=150", "tracking.system_metrics=false")
        process = start(tmp_path, *long, MLFLOW_TRACKING_URI=uri)
        wait_for(tmp_path, "epoch 1/5", process)
        stop(server)
        wait_for(tmp_path, "does not answer", process)
        server = serve(tmp_path, port)
        wait_until_up(port)
        assert process.wait(timeout=300) == 0, (tmp_path / "output").read_text()
        assert_recorded_once(MlflowClient(uri), only_run(tmp_path).name, 5)
    finally:
        stop(server)
