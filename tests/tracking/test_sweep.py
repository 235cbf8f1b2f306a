"""The record of a sweep: the parent run, the trials that failed, and the report."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.tracking.conftest import TrackingStore, tracking_config
from unet3d.errors import RunError
from unet3d.tracking.sweep import check_shared, log_report, open_sweep


def test_a_sweep_is_a_parent_run_that_can_be_opened_again(store: TrackingStore) -> None:
    """It ends with its results, and a later command adds to the same run."""
    record = open_sweep(store.config(), "search", {"sweep.swept": "lr"}, None)
    assert record is not None
    record.close("FAILED", {"sweep.best": "0.9"}, {"sweep/best": 0.9})
    run = store.connection.client.get_run(record.run_id)
    assert run.info.run_name == "search" and run.info.status == "FAILED"
    assert run.data.tags["mlflow.source.name"] == "sweep.py"
    assert run.data.tags["sweep.swept"] == "lr" and run.data.tags["sweep.best"] == "0.9"
    assert run.data.metrics == {"sweep/best": 0.9}
    again = open_sweep(store.config(), "search", {}, record.run_id)
    assert again is not None and again.run_id == record.run_id
    assert store.connection.client.get_run(record.run_id).info.status == "RUNNING"


def test_a_sweep_of_another_store_is_one_line(store: TrackingStore) -> None:
    """Its trials would otherwise be split over two stores."""
    with pytest.raises(RunError, match="sweep.name: search is recorded in another") as error:
        open_sweep(store.config(), "search", {}, "0123456789")
    assert "\n" not in str(error.value)


def test_a_lost_trial_is_recorded_below_its_sweep(store: TrackingStore) -> None:
    """One that had no run yet gets one with its params; one that had keeps its own."""
    record = open_sweep(store.config(), "search", {}, None)
    assert record is not None
    config = store.config("lr=0.5", "tracking.run_name=half")
    run_id = record.fail(config, None, "the worker was killed")
    run = store.connection.client.get_run(run_id)
    assert run.info.status == "FAILED" and run.info.run_name == "half"
    assert run.data.tags["mlflow.parentRunId"] == record.run_id
    assert run.data.tags["unet3d.reason"] == "the worker was killed"
    assert run.data.params["lr"] == "0.5"
    assert not [key for key in run.data.params if key.startswith("tracking.")]
    assert record.fail(config, run_id, "x" * 6000) == run_id
    reason = store.connection.client.get_run(run_id).data.tags["unet3d.reason"]
    assert set(reason) == {"x"} and len(reason) == 5000


def test_a_report_is_copied_to_the_parent(store: TrackingStore, tmp_path: Path) -> None:
    """Under the name of its folder, also after the sweep has ended; tracking=none copies none."""
    record = open_sweep(store.config(), "search", {}, None)
    assert record is not None
    record.close("FINISHED", {}, {})
    (tmp_path / "report").mkdir()
    (tmp_path / "report" / "report.html").write_text("<p>")
    log_report(store.config(), record.run_id, tmp_path / "report")
    files = store.connection.client.list_artifacts(record.run_id, "report")
    assert [file.path for file in files] == ["report/report.html"]
    log_report(tracking_config(tmp_path, "tracking=none"), record.run_id, tmp_path / "report")
    assert open_sweep(tracking_config(tmp_path, "tracking=none"), "search", {}, None) is None


def test_a_database_file_is_refused_for_several_machines(store: TrackingStore) -> None:
    """They would each write to a file of their own; a server, or one machine, is fine."""
    with pytest.raises(RunError, match="the cluster's 2 machines .* type tracking=server"):
        check_shared(store.config(), 2)
    check_shared(store.config(), 1)
    check_shared(store.config("tracking.uri=http://server:5000"), 2)
    check_shared(store.config("tracking=server"), 2)


def test_a_configuration_groups_its_trials(store: TrackingStore, tmp_path: Path) -> None:
    """Its run lies below the sweep's, with its settings and results; a later command goes on."""
    record = open_sweep(store.config(), "search", {}, None)
    assert record is not None
    run_id = record.open_group("lr=0.5", {"lr": "0.5"}, None)
    assert record.open_group("lr=0.5", {"lr": "0.5"}, run_id) == run_id
    record.close_group(run_id, {"val/dice": 0.8}, {"sweep.standing": "best"})
    run = store.connection.client.get_run(run_id)
    assert run.data.tags["mlflow.parentRunId"] == record.run_id
    assert run.info.run_name == "lr=0.5" and run.data.params == {"lr": "0.5"}
    assert run.data.metrics == {"val/dice": 0.8} and run.info.status == "FINISHED"
    assert record.open_group("lr=0.5", {}, "0123456789") != run_id  # of a store that lost it
