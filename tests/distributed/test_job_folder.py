"""What processes tell each other: each message arrives whole, and none is needed to go on."""

from __future__ import annotations

import json
import threading
import time
from pathlib import Path

import pytest

from unet3d.distributed.job_folder import JobFolder, temporary_job_folder
from unet3d.distributed.stop import stop_requests
from unet3d.distributed.worker import SINGLE_WORKER, WorkerContext
from unet3d.errors import ConfigError, DataError, RunError, RunStopped, TrialRegrouped


@pytest.fixture
def folder(tmp_path: Path) -> JobFolder:
    return JobFolder(tmp_path)


def record(epoch: int, value: float = 0.0) -> dict:
    return {"epoch": epoch, "time": 1, "metrics": {"val/dice": value}}


def test_an_empty_folder_says_nothing(folder: JobFolder) -> None:
    """Before anybody has written, no run, stop, error or epoch is found."""
    assert folder.run_id() is None and folder.stop_signal() is None and not folder.pruned()
    assert folder.epochs() == [] and folder.new_epochs(7) == ([], 7)
    folder.raise_error(1)


def test_the_run_is_waited_for(folder: JobFolder) -> None:
    """The other workers get the id that the chief announces, also when it comes later."""
    chief, other = (WorkerContext(rank, workers=2, job_folder=folder) for rank in (0, 1))
    other.announce_run("wrong")
    timer = threading.Timer(0.2, chief.announce_run, ["abc"])
    timer.start()
    assert other.wait_for_run() == "abc"
    timer.join()
    assert folder.run_id() == "abc"


def test_waiting_for_a_run_ends(folder: JobFolder) -> None:
    """With an error that names the folder and the time."""
    expected = f"{folder.path}: worker 0 has not announced a run within 0 s"
    with pytest.raises(TimeoutError, match=expected):
        folder.wait_for_run(timeout=0.1)


def test_stopping_for_now_and_for_good(folder: JobFolder) -> None:
    """A signal's number and pruning are told apart, and the later request counts."""
    folder.ask_to_prune()
    assert folder.pruned() and folder.stop_signal() is None
    folder.ask_to_stop(15)
    assert folder.stop_signal() == 15 and not folder.pruned()


def test_the_chief_receives_what_the_job_is_asked(folder: JobFolder) -> None:
    """Pruning, then a signal; a worker that is not the chief leaves it to the chief."""
    chief, other = (WorkerContext(rank, workers=2, job_folder=folder) for rank in (0, 1))
    with stop_requests(chief) as stop, stop_requests(other) as not_asked:
        folder.ask_to_prune()
        _wait(lambda: stop.pruned)
        assert stop.asked and stop.signal is None
        folder.ask_to_stop(2)
        _wait(lambda: stop.signal == 2)
        assert stop.exit_code == 130 and not not_asked.asked


def _wait(condition) -> None:
    deadline = time.monotonic() + 300
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.02)


@pytest.mark.parametrize("kind", [ConfigError, DataError, RunError])
def test_errors_are_raised_as_they_were(folder: JobFolder, kind: type[Exception]) -> None:
    """Type and message, so that the command ends as that of a run alone."""
    folder.report_error(kind("lr: no"))
    with pytest.raises(kind, match="lr: no") as caught:
        folder.raise_error(1)
    assert type(caught.value) is kind


def test_a_stop_has_the_exit_code_of_the_parent(folder: JobFolder) -> None:
    """The worker that saved does not know which signal the parent got."""
    folder.report_error(RunStopped("saved", 1))
    with pytest.raises(RunStopped, match="saved") as caught:
        folder.raise_error(143)
    assert caught.value.exit_code == 143


def test_an_unknown_error_is_a_run_error(folder: JobFolder) -> None:
    """Such as one of another version; its message is kept."""
    folder.report_error(KeyError("x"))
    with pytest.raises(RunError, match="x") as caught:
        folder.raise_error(1)
    assert type(caught.value) is RunError


def test_epochs_are_read_once_each(folder: JobFolder) -> None:
    """New ones alone, in order; of an epoch that ran twice the later record counts."""
    folder.record_epoch(record(1))
    first, offset = folder.new_epochs(0)
    folder.record_epoch(record(2))
    folder.record_epoch(record(2, 0.5))
    assert first == [record(1)]
    assert folder.new_epochs(offset)[0] == [record(2, 0.5)]
    assert folder.epochs() == [record(1), record(2, 0.5)]
    assert folder.new_epochs(folder.new_epochs(0)[1])[0] == []


def test_half_a_line_is_left_for_later(folder: JobFolder) -> None:
    """A line is read only when its end is written, wherever the reader looked in between."""
    folder.record_epoch(record(1))
    line = json.dumps(record(2)) + "\n"
    path = folder.path / "epochs"
    _, offset = folder.new_epochs(0)
    for end in range(len(line)):
        path.write_text(json.dumps(record(1)) + "\n" + line[:end])
        assert folder.new_epochs(offset) == ([], offset)
    path.write_text(json.dumps(record(1)) + "\n" + line)
    assert folder.new_epochs(offset) == ([record(2)], path.stat().st_size)


def test_a_line_that_a_kill_cut_off_costs_no_other(folder: JobFolder) -> None:
    """The next attempt's record begins on a line of its own."""
    path = folder.path / "epochs"
    path.write_text(json.dumps(record(1)) + '\n{"epo')
    folder.record_epoch(record(2))
    folder.record_epoch(record(3))
    assert folder.epochs() == [record(1), record(2), record(3)]


def test_only_the_chief_records_epochs(folder: JobFolder) -> None:
    """All workers run the one loop; a run alone has no folder to write in."""
    for worker in (WorkerContext(1, 2, job_folder=folder), SINGLE_WORKER):
        worker.record_epoch(record(1))
        worker.announce_run("abc")
    assert folder.epochs() == [] and folder.run_id() is None
    WorkerContext(0, 2, job_folder=folder).record_epoch(record(1))
    assert folder.epochs() == [record(1)]


def test_a_new_attempt_forgets_requests_and_errors(folder: JobFolder) -> None:
    """Its run and its epochs stay, from which it resumes."""
    folder.announce_run("abc")
    folder.record_epoch(record(1))
    folder.ask_to_stop(2)
    folder.report_error(RunError("x"))
    folder.clear_requests()
    folder.raise_error(1)
    assert folder.stop_signal() is None
    assert folder.run_id() == "abc" and folder.epochs() == [record(1)]


def test_a_job_leaves_no_folder(tmp_path: Path) -> None:
    """Also when it fails."""
    with pytest.raises(RunError), temporary_job_folder(tmp_path) as folder:
        folder.announce_run("abc")
        raise RunError("x")
    assert not folder.path.exists()


def test_a_request_to_regroup_can_be_withdrawn(folder: JobFolder) -> None:
    """The chief hears of both; the next attempt begins without a request."""
    worker = WorkerContext(job_folder=folder)
    with stop_requests(worker) as stop:
        for ask, expected in ((folder.ask_to_regroup, True), (folder.withdraw_regroup, False)):
            ask()
            deadline = time.monotonic() + 300
            while stop.regroup != expected and time.monotonic() < deadline:
                time.sleep(0.05)
            assert stop.regroup == expected and not stop.asked
    folder.ask_to_regroup()
    folder.clear_requests()
    assert not folder.regroup_asked()


def test_changes_of_devices_are_kept_in_order(folder: JobFolder) -> None:
    """For the tag of the run, also after a kill; a group's chief reports why it has stopped."""
    assert folder.regroupings() == []
    folder.record_devices(3, 1, 4)
    folder.record_devices(9, 4, 2)
    folder.clear_requests()
    assert folder.regroupings() == [(3, 1, 4), (9, 4, 2)]
    folder.report_error(TrialRegrouped("goes on", 0))
    with pytest.raises(TrialRegrouped, match="goes on"):
        folder.raise_error(0)
