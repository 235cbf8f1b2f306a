"""`python sweep.py` as a user types it: no trial is lost, and what was done is not done again."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import time
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest
from mlflow import MlflowClient
from mlflow.entities import Run

from tests import REPOSITORY
from tests.e2e.commands import SMALL, run, start, train, two_nodes, wait_for
from tests.processes import running_below
from unet3d.machine import cores
from unet3d.sweep.report.results import read_results
from unet3d.sweep.sweep_folder import SweepFolder, TrialRecord

QUIET = ("tracking.system_metrics=false",)
THREE = (*QUIET, "epochs=5", "steps_per_epoch=30", "lr=1e-2,1e-3,1e30", "sweep.name=three")


def sweep(folder: Path, *overrides: str, **environment: str) -> tuple[int, str]:
    """`python sweep.py -m` to the end; exit code and output."""
    return run(folder, *overrides, base=("-m", *SMALL), program="sweep.py", **environment)


def start_sweep(folder: Path, *overrides: str) -> subprocess.Popen[str]:
    return start(folder, *overrides, base=("-m", *SMALL), program="sweep.py")


def results(folder: Path) -> list[TrialRecord]:
    """The trials of the one sweep in the folder, best first."""
    (path,) = (p for p in (folder / "outputs" / "sweeps").iterdir() if p.is_dir())
    return read_results(SweepFolder(path))


def table(folder: Path) -> list[tuple[str, str, float | None, int]]:
    """What a table tells of each trial, but for ids and times."""
    return [
        (r.name, r.result.state, r.result.best and round(r.result.best, 4), r.result.epochs)
        for r in results(folder)
    ]


def recorded(folder: Path) -> tuple[Run, list[Run], MlflowClient]:
    """The parent run, its children, and the store."""
    store = MlflowClient(f"sqlite:///{folder / 'outputs' / 'mlflow.db'}")
    experiment = store.get_experiment_by_name("unet3d")
    assert experiment is not None
    runs = store.search_runs([experiment.experiment_id])
    (parent,) = [run for run in runs if "mlflow.parentRunId" not in run.data.tags]
    children = [r for r in runs if r.data.tags.get("mlflow.parentRunId") == parent.info.run_id]
    assert len(children) == len(runs) - 1
    return parent, children, store


def trial_workers(driver: int) -> list[psutil.Process]:
    """The processes that train: each has the end of its stderr in the folder of its trial."""
    workers = running_below(driver, "TrialWorker")
    return [p for p in workers if any("/trials/" in f.path for f in p.open_files())]


def test_eight_trials_on_two_slots(tmp_path: Path) -> None:
    """All FINISHED, every epoch of every metric there, with the store and the database new.

    A trial on a warm worker gives what its command gives alone.
    """
    grid = ("lr=1e-2,1e-3", "model.norm=batch,group", "optimizer.beta_2=0.99,0.999")
    code, told = sweep(tmp_path, *QUIET, "epochs=2", *grid)
    assert code == 0, told
    assert "all over: 8 finished" in told and "Traceback" not in told
    parent, children, store = recorded(tmp_path)
    assert parent.info.status == "FINISHED" and len(children) == 8
    assert "| trial | settings |" in parent.data.tags["mlflow.note.content"]
    for child in children:
        assert child.info.status == "FINISHED"
        for metric in ("train/loss", "val/dice", "val/dice_whole_tumour", "perf/step_ms"):
            steps = [m.step for m in store.get_metric_history(child.info.run_id, metric)]
            assert sorted(steps) == [1, 2], metric
    settings = {(r.data.params["lr"], r.data.tags["sweep.model.norm"]) for r in children}
    assert len(settings) == 4
    names = {run.info.run_name for run in children}
    assert len(names) == 8 and "lr=0.01, norm=batch, beta_2=0.99" in names
    last = next(record for record in results(tmp_path) if record.number == 7)
    code, told = train(tmp_path, *QUIET, *last.command.split()[2:], base=())
    assert code == 0, told
    alone = next(line for line in told.splitlines() if "best val/dice" in line)
    assert last.result.best is not None and f"best val/dice {last.result.best:.4f} in" in alone


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Three trials, of which one fails as its loss is not a number."""
    folder = tmp_path_factory.mktemp("sweep")
    code, told = sweep(folder, *THREE)
    assert code == 1, told
    assert "2 finished, 1 failed; the same command tries the failed ones again" in told
    assert "Traceback" not in told
    return folder


def test_a_trial_that_raises_is_failed_with_its_error(undisturbed: Path) -> None:
    """In MLflow and in the table; the other trials finish."""
    states = [record.result.state for record in results(undisturbed)]
    assert states == ["finished", "finished", "failed"]
    failed = results(undisturbed)[-1]
    assert "the loss became" in failed.result.error and failed.result.attempts == 1
    parent, children, _store = recorded(undisturbed)
    assert parent.info.status == "FAILED"
    by_status = {run.info.run_name: run for run in children if run.info.status == "FAILED"}
    assert list(by_status) == [failed.name]
    assert "the loss became" in by_status[failed.name].data.tags["unet3d.reason"]


def test_killed_trials_and_a_killed_driver_cost_nothing(tmp_path: Path, undisturbed: Path) -> None:
    """kill -9 of a worker, then of the driver; the same command again gives the same table."""
    process = start_sweep(tmp_path, *THREE)
    wait_for(tmp_path, "trial 1 (lr=0.001) starts", process)
    wait_for_epochs(tmp_path, 1)
    trial_workers(process.pid)[0].kill()
    wait_for(tmp_path, "it starts again from its checkpoint, retry 1 of 2", process)
    wait_for(tmp_path, "attempt 2", process)
    process.kill()
    process.wait()
    code, told = sweep(tmp_path, *THREE)
    assert code == 1, told
    assert table(tmp_path) == table(undisturbed)
    _parent, children, store = recorded(tmp_path)
    assert sorted(run.info.status for run in children) == ["FAILED", "FINISHED", "FINISHED"]
    for child in children:
        if child.info.status == "FINISHED":
            history = store.get_metric_history(child.info.run_id, "val/dice")
            assert sorted(entry.step for entry in history) == [1, 2, 3, 4, 5]
    code, told = sweep(tmp_path, *THREE)
    assert "trial 0 (lr=0.01) finished already" in told and told.count(" starts") == 1


def wait_for_epochs(folder: Path, count: int) -> None:
    """Until each trial that runs has `count` epochs behind it."""
    deadline = time.monotonic() + 300
    while time.monotonic() < deadline:
        files = list((folder / "outputs" / "sweeps").glob("*/trials/*/epochs"))
        if len(files) == 2 and all(len(f.read_text().splitlines()) >= count for f in files):
            return
        time.sleep(0.05)
    raise AssertionError("no epoch in two minutes")


def test_adaptive_search_stopped_by_ctrl_c_goes_on(tmp_path: Path) -> None:
    """Running trials save; the study has as many trials as wanted in the end, and none twice."""
    search = (
        *QUIET,
        *("hydra/sweeper=optuna", "lr=tag(log,interval(1e-4,1e-1))", "sweep.trials=3"),
        *("epochs=6", "steps_per_epoch=30", "sweep.name=search"),
    )
    process = start_sweep(tmp_path, *search)
    wait_for(tmp_path, "trial 1", process)
    wait_for_epochs(tmp_path, 1)
    family = psutil.Process(process.pid).children(recursive=True)
    process.send_signal(signal.SIGINT)
    assert process.wait(timeout=400) == 128 + signal.SIGINT
    assert "the same command resumes the sweep" in (tmp_path / "output").read_text()
    _, alive = psutil.wait_procs(family, timeout=20)
    assert not alive
    stopped = {record.name for record in results(tmp_path) if record.result.state == "stopped"}
    assert len(stopped) == 2
    assert {run.info.status for run in recorded(tmp_path)[1]} == {"KILLED"}
    code, told = sweep(tmp_path, *search)
    assert code == 0, told
    assert told.count("starts, resumed") == 2
    assert stopped < {record.name for record in results(tmp_path)}
    assert [record.result.state for record in results(tmp_path)] == ["finished"] * 3
    parent, children, store = recorded(tmp_path)
    assert parent.info.status == "FINISHED" and len(children) == 3
    for child in children:
        history = store.get_metric_history(child.info.run_id, "val/dice")
        assert sorted(entry.step for entry in history) == list(range(1, 7))


def test_early_stopping_over_a_tracking_server(tmp_path: Path) -> None:
    """A grid under ASHA: trials that fall behind are marked, artifacts go through the server."""
    code, told = sweep(
        tmp_path,
        *(*QUIET, "epochs=40", "steps_per_epoch=10", "lr=1e-2,1e-6,1e-7"),
        *("sweep.early_stopping=asha", "tracking=server", "tracking.port=5391"),
    )
    assert code == 0, told
    assert "http://127.0.0.1:5391 shows the runs" in told
    states = {record.name: record.result.state for record in results(tmp_path)}
    assert states["lr=0.01"] == "finished"
    assert "pruned" in states.values()
    _parent, children, _store = recorded(tmp_path)
    for child in children:
        pruned = states[child.info.run_name or ""] == "pruned"
        assert child.data.tags.get("sweep.pruned", "false") == str(pruned).lower()
        assert child.info.artifact_uri is not None
        assert child.info.artifact_uri.startswith("mlflow-artifacts:")
    weights = list((tmp_path / "outputs" / "mlartifacts").rglob("best.weights.h5"))
    assert len(weights) == 3


def test_halving_over_cases(tmp_path: Path) -> None:
    """All trials on a third of the cases, the best on all; the same command runs none again."""
    command = (
        *(*QUIET, "lr=1e-2,1e-3,1e-7", "steps_per_epoch=5", "data.phantom.cases=8"),
        *("sweep.fidelity=data.train_share", "sweep.rungs=[0.3,1]", "sweep.name=halving"),
    )
    code, told = sweep(tmp_path, *command)
    assert code == 0, told
    assert "halving: 1 of 3 go on at rung 2 of 2" in told
    trials = results(tmp_path)
    assert [trial.rung for trial in trials] == [1, 0, 0, 0]
    assert trials[0].swept["lr"] == trials[1].swept["lr"]
    counts = []
    for trial in trials:
        split = tmp_path / "outputs" / "runs" / trial.result.run_id / "split.json"
        counts.append(len(json.loads(split.read_text())["train"]))
    assert counts == [4, 1, 1, 1]
    parent, children, _ = recorded(tmp_path)
    assert {run.data.tags["sweep.data.train_share"] for run in children} == {"0.3", "1"}
    assert parent.data.metrics["sweep/best_val_dice"] == trials[0].result.best
    code, told = sweep(tmp_path, *command)
    assert code == 0 and told.count("finished already") == 4 and " starts" not in told


def test_two_objectives(tmp_path: Path) -> None:
    """Each trial counts with its network's parameters; report and MLflow have the front."""
    code, told = sweep(
        tmp_path,
        *(*QUIET, "hydra/sweeper=optuna", "model.filters=choice(4,8)", "sweep.trials=3"),
        *("lr=tag(log,interval(1e-3,1e-2))", "sweep.minimize=parameters", "sweep.sampler=random"),
    )
    assert code == 0, told
    assert "Pareto front, which no trial beats in" in told
    trials, (parent, children, _) = results(tmp_path), recorded(tmp_path)
    tags = {run.info.run_id: run.data.tags["model.parameters"] for run in children}
    assert [str(trial.result.parameters) for trial in trials] == [
        tags[trial.result.run_id] for trial in trials
    ]
    assert "with" in parent.data.tags["sweep.front"]


@pytest.fixture
def cluster() -> Iterator[Any]:
    """A Ray head without CPUs and two nodes with two each."""
    with two_nodes(2) as nodes:
        yield nodes


def test_hybrid_trials_of_two_workers_each(tmp_path: Path, cluster: Any) -> None:
    """3 trials x 2 workers on 2 nodes x 2 CPUs: two at once, no deadlock, all FINISHED."""
    code, told = sweep(
        tmp_path,
        *(*QUIET, "lr=1e-2,1e-3,1e-4", "parallel=data", "nodes=2"),
        *("parallel.cpus_per_node=1", f"parallel.address={cluster.address}"),
    )
    assert code == 0, told
    assert "each on 2 workers with 1 CPUs, 2 at once" in told
    _parent, children, _store = recorded(tmp_path)
    assert [run.info.status for run in children] == ["FINISHED"] * 3
    assert {run.data.tags["parallel.workers"] for run in children} == {"2"}


@pytest.mark.parametrize(
    ("overrides", "told"),
    [
        (("lr=1e-3,0",), "error: lr: 0.0 is not possible; it must be above 0"),
        (("lr=interval(1e-3,1e-2)",), "type hydra/sweeper=optuna"),
        (("hydra/sweeper=optuna",), "nothing to search for; write lr=interval(1e-5,1e-2)"),
        (("parallel=data", "nodes=1,2"), "parallel.*, nodes, output_dir and tracking are the same"),
        (("lr=1e-3,1e-2", "sweep.fidelity=data.train_share"), "needs two values or more"),
        (("lr=1e-3,1e-2", "sweep.minimize=hours"), "sweep.minimize: is of adaptive searches"),
        (("lr=1e-3,1e-2", "sweep.early_stopping=hyperband"), "hyperband has one bracket alone"),
        (("sweep.nam=a",), "sweep.nam is not a setting; did you mean sweep.name?"),
        (("sweep.name=../x",), "sweep.name: ../x is not possible"),
    ],
)
def test_bad_input_is_one_line(tmp_path: Path, overrides: tuple[str, ...], told: str) -> None:
    """Before Ray starts, with exit code 2."""
    code, output = sweep(tmp_path, *overrides)
    assert code == 2 and told in output and "Traceback" not in output
    assert not (tmp_path / "outputs" / "runs").exists()


def test_dry_run_lists_and_runs_nothing(tmp_path: Path) -> None:
    """The trials of the paper's grid, what each gets, how many at once; nothing is written."""
    code, told = run(
        tmp_path,
        "-m",
        "experiment=paper_grid",
        "data=phantom",
        "dry_run=true",
        base=(),
        program="sweep.py",
    )
    assert code == 0, told
    assert "32 trials over lr, model.norm, optimizer.beta_2, optimizer.amsgrad" in told
    assert f"each on 1 CPUs, {min(cores(), 32)} at once" in told
    assert "python train.py" in told and told.count("lr=0.0001, norm=batch") == 4
    assert not (tmp_path / "outputs" / "runs").exists()
    assert not (tmp_path / "outputs" / "mlflow.db").exists()


@pytest.mark.parametrize(
    ("preset", "typed", "swept"),
    [
        ("search_asha", "lr=1e-3", "loss.ce_weight, model.filters"),
        ("search_population", "loss.ce_weight=1", "lr"),
    ],
)
def test_what_is_typed_replaces_what_a_preset_sweeps_over(
    tmp_path: Path, preset: str, typed: str, swept: str
) -> None:
    """In a grid and in an adaptive search; each trial's own command has it."""
    chosen = f"experiment=[smoke,{preset}]"
    arguments = ("-m", chosen, typed, "epochs=20", "dry_run=true")
    code, told = run(tmp_path, *arguments, base=(), program="sweep.py")
    assert code == 0 and re.search(rf" trials over {swept};", told), told
    key, value = typed.split("=")
    commands = [line for line in told.splitlines() if "python train.py" in line]
    assert commands and all(f"{key}={float(value):g} " in f"{line} " for line in commands)


def test_a_forecast_is_kept_and_compared(tmp_path: Path) -> None:
    """A run measures, a dry run forecasts and draws; so does the sweep, whose report compares."""
    assert train(tmp_path, *QUIET)[0] == 0
    two = (*QUIET, "lr=1e-2,1e-3", "sweep.name=two", "parallel=auto")
    code, told = sweep(tmp_path, *two, "dry_run=true")
    assert code == 0, told
    assert "forecast, simulated: " in told and "    0 |" in told
    assert re.search(r"1 +experiment .* chosen", told)
    folder = tmp_path / "outputs" / "sweeps" / "two"
    assert not (folder / "trials").exists()
    (folder / "forecast.json").unlink()
    code, told = sweep(tmp_path, *two)
    assert code == 0, told
    assert json.loads((folder / "forecast.json").read_text())["trials"] == 2
    assert "forecast, simulated: " in told and "Forecast (simulated): " in told
    page = (tmp_path / "outputs" / "sweeps" / "two" / "report" / "index.html").read_text()
    assert "Forecast (simulated): " in page and "it took " in page
    store = MlflowClient(f"sqlite:///{tmp_path / 'outputs' / 'mlflow.db'}")
    (parent,) = store.search_runs(["1"], "tags.`parallel.auto` LIKE 'experiment, of %'")
    assert parent.data.tags["sweep.name"] == "two"


def test_many_log_to_sqlite_at_once(tmp_path: Path) -> None:
    """Sixteen processes with a run each in one new database: every epoch of all is there."""
    # Forked after the imports, so that they all begin within a moment.
    code = """
import os
import mlflow
from unet3d.config.compose import compose_config
from unet3d.tracking.run import start_run
from unet3d.tracking.connection import connect
from unet3d.machine import cores

def log_twenty_epochs():
    config = compose_config(["tracking.system_metrics=false"])
    tracker, _ = start_run(config, connect(config))
    for epoch in range(1, 21):
        metrics = {"val/dice": epoch / 20, "train/loss": 1 / epoch}
        tracker.log_epoch({"epoch": epoch, "time": epoch, "metrics": metrics})
    tracker.finish("FINISHED")

for _ in range(16):
    if os.fork() == 0:
        log_twenty_epochs()
        os._exit(0)
print([os.wait()[1] for _ in range(16)])
"""
    done = subprocess.run(
        [sys.executable, "-c", code],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": str(REPOSITORY)},
        capture_output=True,
        text=True,
        timeout=200,
    )
    assert done.stdout.splitlines()[-1] == str([0] * 16), done.stderr
    store = MlflowClient(f"sqlite:///{tmp_path / 'outputs' / 'mlflow.db'}")
    experiment = store.get_experiment_by_name("unet3d")
    assert experiment is not None
    runs = store.search_runs([experiment.experiment_id])
    assert [one.info.status for one in runs] == ["FINISHED"] * 16
    for one in runs:
        history = store.get_metric_history(one.info.run_id, "val/dice")
        assert sorted(entry.step for entry in history) == list(range(1, 21))


POSTGRES = os.environ.get("UNET3D_TEST_POSTGRES")


@pytest.mark.skipif(not POSTGRES, reason="no server: set UNET3D_TEST_POSTGRES=postgresql://...")
def test_trials_log_to_postgresql(tmp_path: Path) -> None:
    """The database of docs/sweeps.md for many machines: every trial and epoch is there."""
    assert POSTGRES is not None
    name = f"test-{uuid.uuid4().hex[:8]}"
    settings = (f"tracking.uri={POSTGRES}", f"tracking.experiment={name}", "lr=1e-2,1e-3")
    code, told = sweep(tmp_path, *QUIET, "epochs=2", *settings)
    assert code == 0, told
    store = MlflowClient(POSTGRES)
    experiment = store.get_experiment_by_name(name)
    assert experiment is not None
    runs = store.search_runs([experiment.experiment_id])
    assert [run.info.status for run in runs] == ["FINISHED"] * 3
    children = [run for run in runs if "mlflow.parentRunId" in run.data.tags]
    for child in children:
        history = store.get_metric_history(child.info.run_id, "val/dice")
        assert sorted(entry.step for entry in history) == [1, 2]
    assert len(list((tmp_path / "outputs" / "mlartifacts").rglob("best.weights.h5"))) == 2
