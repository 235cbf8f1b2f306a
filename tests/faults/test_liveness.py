"""Runs whose process died, and two processes that want to write one run."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from mlflow import MlflowClient

from tests import REPOSITORY
from tests.small import small_config
from unet3d.cli import main
from unet3d.config.compose import compose_config
from unet3d.distributed import writer
from unet3d.distributed.run_state import State, read_state, this_machine
from unet3d.distributed.writer import AlreadyWritten, end_for, writing
from unet3d.errors import DataError, RunStopped
from unet3d.run_folder import RunFolder, run_folder
from unet3d.sweep.runs import close_trials
from unet3d.sweep.sweep_folder import SweepFacts, sweep_folder
from unet3d.tracking.connection import connect
from unet3d.training.run import run_training

HOLD = """
import sys
from pathlib import Path
from unet3d.distributed.writer import writing
with writing(Path(sys.argv[1]), "it is written") as one:
    one.begun = True
    print("held", flush=True)
    sys.stdin.read()
"""


@contextmanager
def another_writer(state: Path) -> Iterator[subprocess.Popen[str]]:
    """Another process that writes the run, until it is killed or the block ends."""
    process = subprocess.Popen(
        [sys.executable, "-c", HOLD, str(state)],
        env={**os.environ, "PYTHONPATH": str(REPOSITORY)},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert process.stdout is not None
    try:
        assert process.stdout.readline() == "held\n"
        yield process
    finally:
        process.kill()
        process.communicate()


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An output folder with an MLflow store, which takes long to make."""
    folder = tmp_path_factory.mktemp("liveness")
    with pytest.MonkeyPatch.context() as patch:
        patch.delenv("MLFLOW_TRACKING_URI", raising=False)
        connect(compose_config([f"output_dir={folder}"]))
    return folder


def killed_run(folder: Path) -> tuple[MlflowClient, RunFolder]:
    """A run that is RUNNING in store and folder, and whose process was killed."""
    connection = connect(compose_config([f"output_dir={folder}"]))
    assert connection is not None
    run = connection.client.create_run(connection.experiment, run_name="victim")
    killed = run_folder(folder, run.info.run_id)
    killed.checkpoints.mkdir(parents=True)
    killed.config.write_text("epochs: 20\ntracking: {run_name: victim}\n")
    with another_writer(killed.state) as process:
        process.send_signal(signal.SIGKILL)
        process.wait()
    return connection.client, killed


def unet3d(capsys: pytest.CaptureFixture[str], *arguments: str) -> str:
    """What the command prints."""
    capsys.readouterr()
    main(list(arguments))
    return capsys.readouterr().out


def test_a_second_writer_is_refused_in_one_line(tmp_path: Path) -> None:
    """It names the first, and leaves the state as it is; after a kill the run is free at once."""
    state = tmp_path / "runs" / "abc" / "state.json"
    with another_writer(state) as process:
        before = state.read_text()
        with (
            pytest.raises(AlreadyWritten) as caught,
            writing(state, "run abc is being trained"),
        ):
            pass
        host = os.uname().nodename
        assert str(caught.value) == (
            f"run abc is being trained by pid {process.pid} on host {host}; wait for its end, or "
            "stop that process"
        )
        assert not end_for(state, "FAILED", "no") and state.read_text() == before
        process.kill()
        process.wait()
        with writing(state, "run abc is being trained") as own:
            own.begun = True
    ended = read_state(state)
    assert ended is not None and ended.status == "FINISHED" and ended.pid == os.getpid()


def test_a_resume_of_a_run_that_is_being_trained_touches_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Neither data nor tracking store are opened for it."""
    monkeypatch.setattr("unet3d.training.run.make_setup", None)
    monkeypatch.setattr("unet3d.training.run.connect", None)
    with another_writer(run_folder(tmp_path, "abc").state), pytest.raises(AlreadyWritten):
        run_training(small_config(tmp_path, "resume=abc"))


@pytest.mark.parametrize(("age", "free"), [(1.0, False), (3600.0, True)])
def test_a_writer_on_another_machine_is_judged_by_its_silence(
    tmp_path: Path, age: float, free: bool
) -> None:
    """Locks may not reach there: a fresh state refuses, an old one is of a lost node."""
    state = tmp_path / "state.json"
    there = {"status": "RUNNING", "host": "node7", "machine": "node7", "pid": os.getpid()}
    state.write_text(json.dumps(there))
    os.utime(state, (time.time() - age, time.time() - age))
    if free:
        with writing(state, "run abc is being trained"):
            assert f'"pid": {os.getpid()}' in state.read_text()
        return
    with pytest.raises(AlreadyWritten, match="on host node7"), writing(state, "run abc is"):
        pass


def test_the_next_attempt_of_a_job_waits_for_the_former(tmp_path: Path) -> None:
    """A worker that was just killed may take a moment to end."""
    state = tmp_path / "state.json"
    with another_writer(state) as process:
        threading.Timer(0.2, process.kill).start()
        with writing(state, "run abc is being trained", patience=60):
            assert process.wait() == -signal.SIGKILL


@pytest.mark.parametrize(
    ("error", "status"),
    [
        (RunStopped("stopped", 143), "KILLED"),
        (KeyboardInterrupt(), "KILLED"),
        (OSError(), "FAILED"),
    ],
)
def test_the_folder_says_how_a_run_ended(tmp_path: Path, error: BaseException, status: str) -> None:
    """Also with tracking=none. What is refused before it begins leaves the former state."""
    state = tmp_path / "state.json"
    with pytest.raises(type(error)), writing(state, "it is") as own:
        own.begun = True
        raise error
    ended = read_state(state)
    assert ended is not None and ended.status == status
    before = state.read_text(), state.stat().st_mtime
    with pytest.raises(DataError), writing(state, "it is"):
        raise DataError("the data have changed")
    assert (state.read_text(), state.stat().st_mtime) == before


def test_a_pid_that_another_process_has_now_is_not_the_writer(tmp_path: Path) -> None:
    """Numbers come again, at the latest after a restart of the machine."""
    own = State("RUNNING", machine=this_machine(), pid=os.getpid(), started=1)
    assert not own.alive(time.time())


def test_a_state_that_is_touched_stays_fresh(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The process touches it from a thread, whatever else it does."""
    monkeypatch.setattr(writer, "BEAT_SECONDS", 0.01)
    state = tmp_path / "state.json"
    with writing(state, "it is"):
        os.utime(state, (0, 0))
        deadline = time.monotonic() + 240
        while state.stat().st_mtime == 0 and time.monotonic() < deadline:
            time.sleep(0.01)
        assert state.stat().st_mtime > 0


def test_dead_runs_are_listed_and_closed(
    store: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """As KILLED with the reason, in folder and tracking store; a live one is left alone."""
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    client, dead = killed_run(store)
    alive = run_folder(store, "alive")
    alive.checkpoints.mkdir(parents=True)
    alive.config.write_text("epochs: 20\n")
    with another_writer(alive.state):
        shown = unet3d(capsys, "runs", f"output_dir={store}")
        lines = {line.split()[0]: line for line in shown.splitlines() if line}
        assert "RUNNING, but its process ended" in lines[dead.run_id]
        assert "0/20" in lines[dead.run_id] and lines[dead.run_id].endswith("victim")
        assert "RUNNING" in lines["alive"] and "ended" not in lines["alive"]
        assert client.get_run(dead.run_id).info.status == "RUNNING"
        unet3d(capsys, "runs", "close=true", f"output_dir={store}")
    run = client.get_run(dead.run_id)
    assert run.info.status == "KILLED" and "ended without a word" in run.data.tags["unet3d.reason"]
    state = read_state(dead.state)
    assert state is not None and state.status == "KILLED"
    assert "KILLED" in unet3d(capsys, "runs", f"output_dir={store}", "tracking=none")


def test_runs_of_an_earlier_version_are_closed_once_nothing_was_written_for_a_day(
    store: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """They have no state to touch; the store alone says RUNNING."""
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    client, run = killed_run(store)
    run.state.unlink()
    unet3d(capsys, "runs", "close=true", f"output_dir={store}")
    assert client.get_run(run.run_id).info.status == "RUNNING"
    os.utime(run.config, (time.time() - 2 * 86400,) * 2)
    assert "its process ended 2 d ago" in unet3d(capsys, "runs", f"output_dir={store}")
    unet3d(capsys, "runs", "close=true", f"output_dir={store}")
    assert client.get_run(run.run_id).info.status == "KILLED"


def test_a_sweep_closes_the_trials_that_a_killed_command_left(
    store: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Those that are to resume later in the same command are not RUNNING meanwhile."""
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    client, run = killed_run(store)
    folder = sweep_folder(store, "s")
    folder.write_facts(SweepFacts("s"))
    trial = folder.path / "trials" / "key"
    trial.mkdir(parents=True)
    described = {"number": 0, "name": "a", "differs": {}, "command": ""}
    (trial / "trial.json").write_text(json.dumps(described))
    (trial / "run_id").write_text(run.run_id)
    close_trials(compose_config([f"output_dir={store}"]), folder)
    assert client.get_run(run.run_id).info.status == "KILLED"


def test_the_kernels_word_for_a_kill_is_passed_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its counter of processes killed for want of memory is compared with that at the start."""
    groups = tmp_path / "cgroup"
    groups.mkdir()
    (groups / "memory.events").write_text("oom 3\noom_kill 2\n")
    monkeypatch.setattr("unet3d.machine.CGROUPS", groups)
    state = State("RUNNING", machine=this_machine(), oom_kills=1)
    assert state.cause == "out of memory, as the kernel has killed 1 processes here since"
    assert State("RUNNING", machine=this_machine(), oom_kills=2).cause == ""
    assert State("RUNNING", machine="another", oom_kills=1).cause == ""


def test_a_resumed_run_goes_where_its_own_settings_say(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """`resume=` of a run over two nodes is a job over two nodes, though nodes=1 by default."""
    from omegaconf import OmegaConf

    from unet3d.cli.programs import train
    from unet3d.config.schema import Config, as_dict

    began = small_config(tmp_path, "parallel=data", "nodes=2")
    folder = run_folder(tmp_path, "abc")
    folder.checkpoints.mkdir(parents=True)
    folder.config.write_text(OmegaConf.to_yaml(OmegaConf.create(as_dict(began))))
    started: list[Config] = []
    monkeypatch.setattr("unet3d.cluster.data_parallel.run_on_nodes", started.append)
    monkeypatch.setattr("unet3d.training.run.run_training", None)
    train(small_config(tmp_path, "resume=abc"), ["resume=abc"])
    assert [config.nodes for config in started] == [2] and started[0].resume == "abc"
