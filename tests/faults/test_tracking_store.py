"""Faults of the tracking store: a first start cut short, a store that refuses, loses or is away."""

from __future__ import annotations

import logging
import os
import shutil
import signal
import sqlite3
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from mlflow import MlflowClient

from tests import REPOSITORY
from tests.tracking.conftest import TrackingStore, tracking_config
from tests.tracking.conftest import no_tracking_uri as no_tracking_uri
from tests.tracking.conftest import store as store
from unet3d.config.schema.commands import RecordConfig
from unet3d.distributed.stop import stop_requests
from unet3d.errors import RunError, RunStopped
from unet3d.tracking import database, outbox
from unet3d.tracking.connection import connect
from unet3d.tracking.run import MlflowTracker, start_run
from unet3d.training import record as record_command
from unet3d.training.resume import resumed_config

STARTS = 5


@pytest.fixture(autouse=True)
def retry_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(outbox, "RETRY_SECONDS", 0.01)


@pytest.fixture
def heard(caplog: pytest.LogCaptureFixture) -> Iterator[pytest.LogCaptureFixture]:
    with caplog.at_level(logging.INFO, "unet3d"):
        yield caplog


@pytest.fixture
def quick_tables(store: TrackingStore, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """New databases are copies of an empty one, as MLflow takes seconds for the tables."""
    source, copy = (sqlite3.connect(f) for f in (store.folder / "mlflow.db", tmp_path / "empty.db"))
    with closing(source), closing(copy):
        source.backup(copy)
        for table in ("metrics", "latest_metrics", "params", "tags", "runs"):
            copy.execute(f"DELETE FROM {table}")
        copy.commit()
    monkeypatch.setattr(
        database, "_create_tables", lambda path: shutil.copyfile(tmp_path / "empty.db", path)
    )


def record(epoch: int, **more: float) -> dict[str, Any]:
    return {"epoch": epoch, "time": 1000 + epoch, "metrics": {"val/dice": epoch / 10, **more}}


def _half_made(path: Path) -> Path:
    """A database as MLflow leaves it when it is killed while it makes the tables."""
    import sqlalchemy
    from mlflow.store.tracking.dbmodels.initial_models import Base

    path.parent.mkdir(exist_ok=True)
    engine = sqlalchemy.create_engine(f"sqlite:///{path}")
    Base.metadata.create_all(engine)
    engine.dispose()
    os.utime(path, (1, 1))  # long ago: no program is still at it
    return path


# Of a process of its own: a fork of this one, in which TensorFlow and Ray have threads, may hang.
FIRST_START = """
import sys
from tests.tracking.conftest import tracking_config
from unet3d.tracking.connection import connect
connection = connect(tracking_config(sys.argv[1], f"tracking.uri={sys.argv[2]}"))
connection.client.create_run(connection.experiment)
"""


def test_a_stop_during_the_first_start_leaves_no_broken_store(tmp_path: Path) -> None:
    """SIGTERM while the tables are made ends in 143; then several first starts at once all work."""
    config = tracking_config(tmp_path / "run")
    stopped = threading.Event()

    def stop_at_the_tables() -> None:
        while not stopped.is_set() and not list(tmp_path.glob("run/.mlflow.db.tmp-*/mlflow.db")):
            time.sleep(0.01)
        os.kill(os.getpid(), signal.SIGTERM)

    with stop_requests():
        thread = threading.Thread(target=stop_at_the_tables)
        thread.start()
        with pytest.raises(RunStopped) as caught:
            connect(config)
    stopped.set()
    thread.join()
    assert caught.value.exit_code == 143
    assert not [path for path in tmp_path.glob("run/*mlflow.db*") if path.suffix != ".lock"]

    uri = f"sqlite:///{tmp_path}/run/mlflow.db"
    command = [sys.executable, "-c", FIRST_START]
    starts = [
        subprocess.Popen([*command, str(tmp_path / str(number)), uri], cwd=REPOSITORY)
        for number in range(STARTS)
    ]
    try:
        assert [start.wait(240) for start in starts] == [0] * STARTS
    finally:
        for start in starts:
            start.kill()
    with closing(sqlite3.connect(tmp_path / "run" / "mlflow.db")) as made:
        assert made.execute("SELECT COUNT(*) FROM runs").fetchone() == (STARTS,)
        names = made.execute("SELECT name FROM experiments ORDER BY name").fetchall()
    assert names == [("Default",), ("unet3d",)]


def test_a_half_made_store_without_runs_is_made_anew(
    quick_tables: None, tmp_path: Path, heard: pytest.LogCaptureFixture
) -> None:
    """The broken file is kept under another name, and one line says so."""
    path = _half_made(tmp_path / "run" / "mlflow.db")
    connection = connect(tracking_config(tmp_path / "run"))
    assert connection is not None and connection.client.search_runs([connection.experiment]) == []
    assert (tmp_path / "run" / "mlflow.db.broken-1").is_file()
    assert len(heard.messages) == 1 and f"{path} was only half made" in heard.messages[0]


def test_a_store_with_runs_is_never_replaced(quick_tables: None, tmp_path: Path) -> None:
    """Though its tables are not those of this MLflow."""
    path = _half_made(tmp_path / "run" / "mlflow.db")
    with closing(sqlite3.connect(path)) as broken:
        broken.execute("INSERT INTO experiments (experiment_id, name) VALUES (0, 'Default')")
        broken.execute("INSERT INTO runs (run_uuid, experiment_id) VALUES ('a', 0)")
        broken.commit()
    before = path.read_bytes()
    database.make_database(path)
    assert path.read_bytes() == before


def test_a_file_that_is_no_database_is_one_line(tmp_path: Path) -> None:
    """It is left alone."""
    (tmp_path / "mlflow.db").write_text("no database, but something of the user's" * 100)
    with pytest.raises(RunError, match=r"mlflow.db is not an MLflow database") as error:
        connect(tracking_config(tmp_path))
    assert "\n" not in str(error.value)


def test_names_that_mlflow_forbids_are_recorded(
    store: TrackingStore, heard: pytest.LogCaptureFixture
) -> None:
    """Regions, tags and settings with other characters or long values; two stay two."""
    own = ["+tracking.tags={a+b: x}", "+data.regions={TC+ET: [1], TC-ET: [2]}"]
    config = store.config(*own)
    config = replace(config, data=replace(config.data, root="x" * 7000))
    tracker, folder = start_run(config, store.connection)
    tracker.log_epoch(record(1, **{"val/dice_TC+ET": 0.25, "val/dice_TC-ET": 0.5}))
    tracker.finish("FINISHED")
    run = store.connection.client.get_run(folder.run_id)
    assert run.data.metrics["val/dice_TC:2b:ET"] == 0.25
    assert run.data.metrics["val/dice_TC-ET"] == 0.5
    assert run.data.tags["a:2b:b"] == "x" and len(run.data.params["data.root"]) == 6000
    assert run.data.params["data.regions.TC:2b:ET"] == "[1]"
    assert not [line for line in heard.messages if line.startswith("tracking:")]


def test_a_run_deleted_meanwhile_is_said_once_and_comes_back(
    store: TrackingStore, heard: pytest.LogCaptureFixture
) -> None:
    """No message is tried for ever; `unet3d record` restores the run and what it missed."""
    config = store.config("epochs=1")
    tracker, folder = start_run(config, store.connection)
    _wait_until_sent(tracker)
    store.connection.client.delete_run(folder.run_id)
    for epoch in (1, 2, 3):
        tracker.log_epoch(record(epoch))
    tracker.finish("FINISHED")
    lines = [line for line in heard.messages if "deleted" in line]
    assert len(lines) == 1 and lines[0].startswith("tracking: not recorded (")
    assert "4 messages were not sent" in heard.messages[-1]
    assert f"unet3d record run={folder.run_id}" in heard.messages[-1]
    _record(store, folder.run_id, [record(epoch) for epoch in (1, 2, 3)])
    run = store.connection.client.get_run(folder.run_id)
    assert run.info.lifecycle_stage == "active" and run.info.status == "FINISHED"
    assert run.data.metrics["val/dice"] == 0.3


def _wait_until_sent(tracker: Any) -> None:
    sender = tracker.tracker.outbox
    while sender.queue.qsize() or sender.sending:
        time.sleep(0.01)


def _record(store: TrackingStore, run_id: str, history: list[dict[str, Any]], uri: str = "") -> str:
    """`unet3d record`, its checkpoint's history given."""
    from unet3d.training import checkpoint

    settings = RecordConfig(run=run_id, output_dir=str(store.folder), uri=uri or None)
    progress = checkpoint.TrainingProgress(history=history)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(checkpoint, "read_progress", lambda path: progress)
        path = store.folder / "runs" / run_id / "checkpoints" / "last.npz"
        path.touch()
        return record_command.record(settings)


def test_a_deleted_experiment_is_one_line(store: TrackingStore) -> None:
    """It says how to restore; a training and a resume say the same."""
    config = store.config("tracking.experiment=gone")
    connection = connect(config)
    assert connection is not None
    run_id = connection.client.create_run(connection.experiment).info.run_id
    connection.client.delete_experiment(connection.experiment)
    for again in (config, store.config(f"resume={run_id}")):
        with pytest.raises(RunError, match=r"tracking.experiment: gone is deleted in") as error:
            connect(again)
        assert f"restore --experiment-id {connection.experiment}" in str(error.value)


def test_files_that_cannot_be_written_hold_up_no_metrics(
    store: TrackingStore, tmp_path: Path, heard: pytest.LogCaptureFixture
) -> None:
    """The folder of the artifacts is a file: said once, and the metrics behind are recorded."""
    (tmp_path / "file").write_text("")
    own = (f"tracking.artifacts={tmp_path}/file", "tracking.experiment=unwritable")
    config = store.config(*own)
    tracker, folder = start_run(config, connect(config))
    tracker.log_artifact(folder.config, "again")
    tracker.log_epoch(record(1))
    tracker.finish("FINISHED")
    run = store.connection.client.get_run(folder.run_id)
    assert run.info.status == "FINISHED" and run.data.metrics == {"val/dice": 0.1}
    assert "2 messages were not sent" in heard.messages[-1]


class Refusing:
    """A client whose calls of `name` fail with an error that may pass."""

    def __init__(self, client: MlflowClient, *names: str):
        self.client, self.names = client, names

    def __getattr__(self, name: str) -> Any:
        if name in self.names:
            return self._fail
        return getattr(self.client, name)

    def _fail(self, *values: Any, **named: Any) -> None:
        raise ConnectionError("500 Internal Server Error")


def test_a_message_that_fails_while_the_store_answers_is_overtaken(
    store: TrackingStore, heard: pytest.LogCaptureFixture
) -> None:
    """Say a server that cannot write files: its metrics arrive, and the end does not hang."""
    client: Any = Refusing(store.connection.client, "log_artifact")
    tracker = MlflowTracker(store.config(), replace(store.connection, client=client))
    tracker.log_artifact(store.folder / "mlflow.db", "")
    tracker.log_epoch(record(1))
    tracker.finish("FINISHED")
    run = store.connection.client.get_run(tracker.run_id)
    assert run.info.status == "FINISHED" and run.data.metrics == {"val/dice": 0.1}
    assert "did not take all; 1 messages were not sent" in heard.messages[-1]


def test_a_signal_ends_the_last_wait(store: TrackingStore, heard: pytest.LogCaptureFixture) -> None:
    """The store stays away at the end: SIGTERM leaves at once, saying how to send the rest."""
    client: Any = Refusing(store.connection.client, "log_batch", "get_run")
    with stop_requests() as stop:
        stop.deferred = True
        tracker = MlflowTracker(store.config(), replace(store.connection, client=client))
        tracker.log_epoch(record(1))
        threading.Timer(0.5, os.kill, (os.getpid(), signal.SIGTERM)).start()
        tracker.finish("FINISHED")
        assert stop.signal == signal.SIGTERM  # the training still knows of it
    assert "still does not answer; " in heard.messages[-1]
    assert f"unet3d record run={tracker.run_id} sends it" in heard.messages[-1]
    client.names = ()  # so that the thread ends


def test_a_store_that_lost_the_run_gets_it_again(
    quick_tables: None, store: TrackingStore, tmp_path: Path
) -> None:
    """By `unet3d record`, which changes nothing when it is done twice, and then by a resume."""
    config = store.config("epochs=2", "tracking.run_name=lost", "+tracking.tags.kind=trial")
    tracker, folder = start_run(config, store.connection)
    tracker.set_tags({"device": "cpu"})
    for epoch in (1, 2):
        tracker.log_epoch(record(epoch))
    folder.log.write_text("a line")
    tracker.finish("KILLED", "stopped")
    uri = f"sqlite:///{tmp_path}/new/mlflow.db"
    history = [record(1), record(2)]
    ids = {_record(store, folder.run_id, history, uri) for _ in range(2)}
    assert len(ids) == 1 and ids != {folder.run_id}
    again = store.config(f"resume={folder.run_id}", f"tracking.uri={uri}")
    connection = connect(again)  # finds it under its new id
    assert connection is not None and {str(connection.run)} == ids
    client, stored = connection.client, ids.pop()
    run, first = client.get_run(stored), store.connection.client.get_run(folder.run_id)
    assert run.info.status == "KILLED" and run.info.run_name == "lost"
    assert run.info.start_time == pytest.approx(first.info.start_time, abs=60_000)
    assert run.data.params == first.data.params and run.data.metrics == first.data.metrics
    assert first.data.tags.items() - run.data.tags.items() == set()
    assert len(client.get_metric_history(stored, "val/dice")) == 2
    assert [file.path for file in client.list_artifacts(stored, "log")] == ["log/train.log"]
    resumed, same = start_run(again, connection)
    resumed.log_epoch(record(2))
    resumed.log_epoch(record(3))
    resumed.finish("FINISHED")
    assert same == folder and client.get_run(stored).info.status == "FINISHED"
    assert len(client.get_metric_history(stored, "val/dice")) == 3


def test_a_resume_records_a_lost_run_again(
    quick_tables: None, store: TrackingStore, tmp_path: Path, heard: pytest.LogCaptureFixture
) -> None:
    """In a store that never knew it, one line says so; the run keeps its folder and id."""
    tracker, folder = start_run(store.config("tracking=none", "lr=0.25"), None)
    tracker.finish("KILLED")
    uri = f"sqlite:///{tmp_path}/new/mlflow.db"
    config = store.config(f"resume={folder.run_id}", f"tracking.uri={uri}", "lr=0.25")
    connection = connect(config, lost_run_ok=True)
    assert connection is not None and connection.run is None
    resumed, same = start_run(config, connection)
    resumed.finish("FINISHED")
    assert same == folder
    found = connect(config)
    assert found is not None and found.run is not None
    run = found.client.get_run(found.run)
    assert run.info.status == "FINISHED" and run.data.params["lr"] == "0.25"
    assert run.data.tags["unet3d.run"] == folder.run_id and "git.dirty" in run.data.tags
    assert len([line for line in heard.messages if "recorded there again" in line]) == 1


def test_a_stop_passes_every_except_exception() -> None:
    """As Ctrl-C does: a signal handler raises it wherever the program is, even inside MLflow."""
    assert not issubclass(RunStopped, Exception)


def test_a_run_is_resumed_with_tracking_none_while_its_store_is_away(store: TrackingStore) -> None:
    """As the message about the store says: nothing is asked of it, and the run keeps its id."""
    away = "tracking.uri=http://127.0.0.1:9"
    tracker, folder = start_run(store.config(away), None)
    tracker.finish("KILLED")
    own = [f"resume={folder.run_id}", f"output_dir={store.folder}", "tracking=none"]
    config = resumed_config(store.config(*own), own)
    connection = connect(config)
    assert connection is None
    resumed, same = start_run(config, connection)
    resumed.finish("FINISHED")
    assert same == folder
