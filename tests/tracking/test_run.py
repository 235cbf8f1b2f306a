"""The record of one run in a real MLflow store: complete, in order, and through an outage."""

from __future__ import annotations

import logging
import socket
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from mlflow import MlflowClient

from tests.small import small_config
from tests.tracking.conftest import TrackingStore
from unet3d.tracking import outbox
from unet3d.tracking import run as module
from unet3d.tracking.connection import connect
from unet3d.tracking.record import record_run
from unet3d.tracking.run import FolderTracker, MlflowTracker, end_run, start_run
from unet3d.tracking.tracker import NoTracker


@pytest.fixture(autouse=True)
def retry_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """An outage costs the tests no time."""
    monkeypatch.setattr(outbox, "RETRY_SECONDS", 0.01)


@pytest.fixture
def heard(caplog: pytest.LogCaptureFixture) -> Iterator[pytest.LogCaptureFixture]:
    with caplog.at_level(logging.INFO, "unet3d"):
        yield caplog


def record(epoch: int, dice: float) -> dict[str, Any]:
    metrics = {"train/loss": 1 - dice, "val/dice": dice}
    return {"epoch": epoch, "time": 1000 + epoch, "metrics": metrics}


class Outage:
    """A client whose calls of `names` fail, the first `failures` of them."""

    def __init__(self, client: MlflowClient, failures: int, *names: str):
        self.client, self.failures, self.names = client, failures, names
        self.calls: list[str] = []

    def __getattr__(self, name: str) -> Any:
        def call(*values: Any, **named: Any) -> Any:
            if name in self.names and self.failures:
                self.failures -= 1
                raise ConnectionError("the store is away\nwith details")
            self.calls.append(name)
            return getattr(self.client, name)(*values, **named)

        return call


def test_a_run_is_recorded_whole(store: TrackingStore) -> None:
    """Params without those of tracking, metrics, artifact, tags of code and host, status."""
    parent = store.connection.client.create_run(store.connection.experiment).info.run_id
    own = (f"tracking.parent={parent}", "tracking.run_name=first", "+tracking.tags.kind=trial")
    config = store.config("lr=0.25", *own)
    tracker, folder = start_run(config, store.connection)
    tracker.log_epoch(record(1, 0.5))
    tracker.log_epoch(record(1, 0.5))
    tracker.log_epoch(record(2, 0.75))
    tracker.finish("FINISHED")
    run = store.connection.client.get_run(folder.run_id)
    assert run.info.status == "FINISHED" and run.info.run_name == "first"
    assert run.data.params["lr"] == "0.25" and run.data.params["model.name"] == "unet3d"
    assert not [key for key in run.data.params if key.startswith("tracking.")]
    assert run.data.metrics == {"val/dice": 0.75, "train/loss": 0.25}
    assert run.data.tags["mlflow.parentRunId"] == parent and run.data.tags["kind"] == "trial"
    assert run.data.tags["host"] == socket.gethostname()
    assert run.data.tags["mlflow.source.name"] == "train.py" and "git.dirty" in run.data.tags
    history = store.connection.client.get_metric_history(folder.run_id, "val/dice")
    assert [(entry.step, entry.value) for entry in history] == [(1, 0.5), (2, 0.75)]
    copied = store.connection.client.list_artifacts(folder.run_id, "config")
    assert [file.path for file in copied] == ["config/config.yaml"]
    assert "lr: 0.25" in folder.config.read_text()


def test_a_data_set_is_an_input_of_its_run(store: TrackingStore) -> None:
    """MLflow filters by it; `unet3d record` sends it to a store that lacks it, once."""
    config = store.config()
    tracker, folder = start_run(config, store.connection)
    dataset = {"name": "scans/a", "digest": "0" * 64, "root": "/data/a", "cases": "3 train"}
    tracker.log_dataset(dataset)
    tracker.finish("FINISHED")
    client = store.connection.client
    (found,) = client.get_run(folder.run_id).inputs.dataset_inputs
    assert found.dataset.name == "scans/a" and found.dataset.digest == "0" * 36
    assert "/data/a" in found.dataset.source and found.tags[0].value == "training"
    known = replace(store.connection, run=folder.run_id)
    record_run(known, config, folder, [], {})
    record_run(known, config, folder, [], {})
    assert len(client.get_run(folder.run_id).inputs.dataset_inputs) == 1
    client.delete_run(folder.run_id)
    again = record_run(replace(known, run=None), config, folder, [], {})
    assert len(client.get_run(again).inputs.dataset_inputs) == 1


def test_tensorboard_gets_the_metrics_of_each_epoch_once(tmp_path: Path) -> None:
    """Scalars that its pages can read, beside what the run records anyway."""
    import tensorflow as tf

    config = small_config(tmp_path, "tracking.tensorboard=true")
    tracker, folder = start_run(config, None)
    for entry in (record(1, 0.5), record(1, 0.5), record(2, 0.75)):  # 1 again, as a resume does
        tracker.log_epoch(entry)
    tracker.finish("FINISHED")
    (file,) = folder.tensorboard.iterdir()
    found = {
        (value.tag, event.step): float(tf.make_ndarray(value.tensor))
        for event in tf.compat.v1.train.summary_iterator(str(file))
        for value in event.summary.value
        if value.metadata.plugin_data.plugin_name == "scalars"
    }
    assert found[("val/dice", 1)] == 0.5 and found[("val/dice", 2)] == 0.75
    assert len(found) == 4


def test_an_outage_delays_what_is_sent_and_keeps_its_order(
    store: TrackingStore, heard: pytest.LogCaptureFixture
) -> None:
    """Calls that fail are tried again before later ones; one warning, then one line of relief."""
    client = Outage(store.connection.client, 4, "set_tag", "log_batch", "set_terminated")
    tracker = MlflowTracker(store.config(), replace(store.connection, client=client))
    tracker.set_tags({"first": "1"})
    tracker.log_epoch(record(1, 0.5))
    tracker.finish("KILLED", "stopped by the user")
    order = [name for name in client.calls if name != "create_run"]
    first = order.index("set_tag")
    assert set(order[:first]) == {"log_batch"}  # the params
    assert order[first:] == ["set_tag", "log_batch", "set_tag", "set_terminated"]
    run = store.connection.client.get_run(tracker.run_id)
    assert run.info.status == "KILLED" and run.data.metrics["val/dice"] == 0.5
    assert run.data.tags["first"] == "1" and "stopped" in run.data.tags["unet3d.reason"]
    assert heard.messages == [
        f"tracking: {store.connection.uri} does not answer (the store is away); training continues",
        f"tracking: {store.connection.uri} answers again",
    ]


def test_the_last_record_is_made_once_when_all_before_it_is_sent(
    store: TrackingStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It tells how long that took; a store that is away while it is sent gets the same figures."""
    tracker = MlflowTracker(store.config(), store.connection)
    away = Outage(store.connection.client, 0, "log_batch")
    made: list[list[str]] = []

    def last() -> dict[str, Any]:
        made.append(list(away.calls))
        away.failures = 2
        return {"epoch": 1, "time": 1002, "metrics": {"perf/wall_s": float(len(made))}}

    monkeypatch.setattr(tracker, "client", away)
    tracker.log_epoch(record(1, 0.5))
    tracker.set_tags({"a": "b"})
    tracker.log_end(last)
    tracker.finish("FINISHED")
    assert len(made) == 1 and made[0][-2:] == ["log_batch", "set_tag"]
    run = store.connection.client.get_run(tracker.run_id)
    assert run.data.metrics["perf/wall_s"] == 1 and run.info.status == "FINISHED"


def test_a_file_that_is_gone_does_not_hold_up_the_rest(
    store: TrackingStore, heard: pytest.LogCaptureFixture
) -> None:
    """No retry would bring it back: it is an error in the log, and the run still ends."""
    tracker = MlflowTracker(store.config(), store.connection)
    tracker.log_artifact(store.folder / "gone.png", "figures")
    tracker.finish("FINISHED")
    assert store.connection.client.get_run(tracker.run_id).info.status == "FINISHED"
    assert len(heard.messages) == 2 and "gone.png" in heard.messages[0]
    assert "1 messages were not sent" in heard.messages[1]


def test_a_store_that_stays_away_is_given_up_with_the_command_to_type(
    store: TrackingStore, heard: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The training's end is not held up for ever, and nothing is lost."""
    monkeypatch.setattr(module, "GIVE_UP_SECONDS", 0.1)
    client = Outage(store.connection.client, 10**9, "log_batch")
    tracker = MlflowTracker(store.config(), replace(store.connection, client=client))
    tracker.finish("FINISHED")
    assert f"unet3d record run={tracker.run_id} sends it" in heard.messages[-1]
    client.failures = 0
    tracker.outbox.thread.join(60)
    assert not tracker.outbox.thread.is_alive()


def test_a_resumed_run_is_the_same_run(store: TrackingStore) -> None:
    """It is RUNNING again, and its params are not sent a second time."""
    tracker, folder = start_run(store.config(), store.connection)
    tracker.finish("KILLED")
    client = Outage(store.connection.client, 0)
    config = store.config(f"resume={folder.run_id}")
    connection = connect(config)
    assert connection is not None
    resumed, same = start_run(config, replace(connection, client=client))
    resumed.finish("FINISHED")
    assert same == folder and client.calls == ["update_run", "set_terminated"]
    assert store.connection.client.get_run(folder.run_id).info.status == "FINISHED"


def test_a_run_whose_process_is_lost_can_be_ended(
    store: TrackingStore, heard: pytest.LogCaptureFixture
) -> None:
    """Its status and reason are set from outside; a run that is not known is a warning."""
    client = store.connection.client
    run_id = client.create_run(store.connection.experiment).info.run_id
    end_run(store.config(f"resume={run_id}"), "FAILED", "worker 1 was killed")
    run = client.get_run(run_id)
    assert run.info.status == "FAILED" and run.data.tags["unet3d.reason"] == "worker 1 was killed"
    end_run(store.config("resume=unknown"), "FAILED", "")
    assert heard.messages[-1].startswith("tracking: run unknown could not be ended (")


def test_without_tracking_a_run_is_its_folder(store: TrackingStore, tmp_path: Path) -> None:
    """tracking=none records nothing but the settings, under an id of the run's own."""
    config = replace(store.config("tracking=none"), output_dir=str(tmp_path))
    tracker, folder = start_run(config, None)
    assert isinstance(tracker, FolderTracker) and isinstance(tracker.tracker, NoTracker)
    assert folder.path.parent == tmp_path / "runs"
    assert folder.config.is_file() and folder.checkpoints.is_dir()
