"""A signal: what runs saves and stops, the shell sees its number, one line says how to go on."""

from __future__ import annotations

import os
import pty
import signal
import subprocess
import sys
import time
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

import psutil
import pytest
import ray
from mlflow import MlflowClient

from tests import REPOSITORY
from tests.e2e.commands import SMALL, only_run, start, wait_for
from tests.nifti_files import config as data_config
from tests.small import small_config
from unet3d.cluster import preprocess as module
from unet3d.config.schema import PhantomConfig
from unet3d.datasets.decathlon import read_decathlon
from unet3d.datasets.phantom import ensure_phantoms
from unet3d.distributed.stop import signals_held, stop_requests, stopped_by_signals
from unet3d.errors import RunStopped

LONG = ("tracking.system_metrics=false", "epochs=500", "steps_per_epoch=4", "batch_size=2")


def terminate_twice(process: subprocess.Popen[str]) -> int:
    """Two SIGTERM, as of a queue that insists; returns the exit code when nothing is left."""
    family = psutil.Process(process.pid).children(recursive=True)
    process.terminate()
    time.sleep(0.3)
    process.terminate()
    code = process.wait(timeout=400)
    assert not psutil.wait_procs(family, timeout=20)[1]
    return code


def statuses(folder: Path) -> set[str]:
    """How the runs of the folder ended, as recorded."""
    store = MlflowClient(f"sqlite:///{folder / 'outputs' / 'mlflow.db'}")
    ids = [experiment.experiment_id for experiment in store.search_experiments()]
    return {run.info.status for run in store.search_runs(ids)}


def test_sigterm_of_a_sweep(tmp_path: Path) -> None:
    """Its trials save; Ray's handler would abort it, with nothing saved and the run FAILED."""
    process = start(tmp_path, *LONG, "lr=1e-2,1e-3", base=("-m", *SMALL), program="sweep.py")
    deadline = time.monotonic() + 300
    while not list(tmp_path.glob("outputs/sweeps/*/trials/*/epochs")):
        assert process.poll() is None and time.monotonic() < deadline
        time.sleep(0.1)
    code = terminate_twice(process)
    assert code == 143, (tmp_path / "output").read_text()
    told = (tmp_path / "output").read_text()
    assert "; the same command resumes the sweep" in told and "Traceback" not in told
    assert statuses(tmp_path) == {"KILLED"}


def test_sigterm_of_a_data_parallel_training(tmp_path: Path) -> None:
    """It ended with 1, nothing saved."""
    process = start(tmp_path, *LONG, "parallel=data", "nodes=2")
    wait_for(tmp_path, "epoch 1/500", process)
    code = terminate_twice(process)
    assert code == 143, (tmp_path / "output").read_text()
    told = (tmp_path / "output").read_text()
    assert f"go on with: python train.py resume={only_run(tmp_path).name}" in told
    assert "Traceback" not in told and statuses(tmp_path) == {"KILLED"}


def test_sigterm_of_preprocessing_over_ray(tmp_path: Path) -> None:
    """Finished cases stay, nothing half-written does, and the line says what resumes."""
    command = [sys.executable, "-m", "unet3d.cli", "preprocess", "data=phantom"]
    phantoms = ["data.phantom.cases=20", "data.phantom.shape=[80,80,80]"]
    with (tmp_path / "output").open("w") as output:
        process = subprocess.Popen(
            [*command, *phantoms, "parallel=experiment"],
            cwd=tmp_path,
            env={**os.environ, "PYTHONPATH": str(REPOSITORY)},
            stdout=output,
            stderr=subprocess.STDOUT,
            text=True,
        )
    wait_for(tmp_path, "one core per case", process)
    code = terminate_twice(process)
    assert code == 143, (tmp_path / "output").read_text()
    told = (tmp_path / "output").read_text()
    assert told.endswith("stopped; finished cases are kept, and the same command resumes\n")
    assert "Traceback" not in told
    assert not list((tmp_path / "outputs").rglob(".*tmp-*"))


def test_the_end_of_the_terminal(tmp_path: Path) -> None:
    """SIGHUP is as SIGTERM; the lines that no terminal takes any more are no error."""
    ours, theirs = pty.openpty()
    command = [sys.executable, str(REPOSITORY / "train.py"), *SMALL, *LONG, "tracking=none"]
    with subprocess.Popen(
        command,
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": str(REPOSITORY)},
        stdin=theirs,
        stdout=theirs,
        stderr=theirs,
        start_new_session=True,
        preexec_fn=lambda: os.close(os.open(os.ttyname(0), os.O_RDWR)),  # its terminal from now on
    ) as process:
        os.close(theirs)
        told = b""
        while b"epoch 3/500" not in told:
            told += os.read(ours, 4096)
        os.close(ours)
        assert process.wait(timeout=400) == 129
    log = (only_run(tmp_path) / "train.log").read_text()
    assert "epoch 1/500" in log
    assert (only_run(tmp_path) / "checkpoints" / "last.npz").exists()


def test_an_ignored_sighup_stays_ignored() -> None:
    """As nohup wants it."""
    former = signal.signal(signal.SIGHUP, signal.SIG_IGN)
    try:
        with stopped_by_signals("stopped"), stop_requests() as stop:
            signal.raise_signal(signal.SIGHUP)
            assert not stop.asked
    finally:
        signal.signal(signal.SIGHUP, former)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP])
def test_a_second_signal_does_not_interrupt_the_tidying_up(number: signal.Signals) -> None:
    """Else the processes and folders of the first start would stay."""
    tidied = False
    with pytest.raises(RunStopped) as stopped, stopped_by_signals("stopped"):
        try:
            with stop_requests():
                try:
                    signal.raise_signal(number)
                finally:
                    signal.raise_signal(number)
        finally:
            signal.raise_signal(number)
            tidied = True
    assert tidied and stopped.value.exit_code == 128 + number
    assert "nothing to resume" in str(stopped.value)


def swallowed(number: int) -> None:
    """A signal that comes within Ray's compiled code, where what its handler raises is lost."""
    with suppress(BaseException):
        signal.raise_signal(number)


@pytest.mark.parametrize("where", ["in Ray", "between two cases"])
def test_signals_while_cases_are_built_over_ray(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, where: str
) -> None:
    """Neither is one lost in Ray's code, nor does a second one cut the tidying up short."""
    monkeypatch.setattr(sys, "unraisablehook", lambda problem: lost.append(problem.exc_value))
    lost: list[BaseException | None] = []
    tidied: list[str] = []
    real, clean = module._check_nodes, module._clean_nodes

    def check_nodes(job: module.PreprocessJob) -> int:
        if where == "in Ray":
            swallowed(signal.SIGTERM)
        return real(job)

    def clean_nodes(job: module.PreprocessJob) -> None:
        signal.raise_signal(signal.SIGTERM)
        clean(job)
        tidied.append("nodes")

    monkeypatch.setattr(module, "_check_nodes", check_nodes)
    monkeypatch.setattr(module, "_clean_nodes", clean_nodes)
    data = data_config(tmp_path, phantom=PhantomConfig(cases=3, shape=[32, 32, 32]))
    config = replace(small_config(tmp_path, "parallel=experiment"), data=data)
    ensure_phantoms(Path(data.root), data.phantom)
    dataset = read_decathlon(Path(data.root))
    (tmp_path / "s" / "cases").mkdir(parents=True)
    with pytest.raises(RunStopped) as stopped, stopped_by_signals("the line"):
        for _ in module.spread_cases(config, dataset, dataset.cases, data, tmp_path / "s"):
            assert where == "between two cases"
            signal.raise_signal(signal.SIGTERM)
    assert (str(stopped.value), stopped.value.exit_code) == ("the line", 143)
    assert tidied == ["nodes"] and not lost and not ray.is_initialized()


def test_held_signals_are_handed_on_once() -> None:
    """At the latest at the end of the block; where it ends by an error, that one is kept."""
    with pytest.raises(RunStopped, match="the line"), stopped_by_signals("the line"):
        with signals_held():
            signal.raise_signal(signal.SIGHUP)
            held = True
        raise AssertionError
    assert held
    with pytest.raises(KeyError), stopped_by_signals("the line"), signals_held():
        signal.raise_signal(signal.SIGTERM)
        raise KeyError
    former = signal.signal(signal.SIGTERM, signal.SIG_DFL)
    try:
        with pytest.raises(RunStopped) as stopped, signals_held() as hand_on:
            signal.raise_signal(signal.SIGTERM)
            hand_on()
    finally:
        signal.signal(signal.SIGTERM, former)
    assert stopped.value.exit_code == 143
