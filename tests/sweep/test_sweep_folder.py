"""What a sweep keeps on disk: files of the former names and keys, one process at a time."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.small import small_config
from tests.sweep.folders import COMMAND, write_sweep, write_trial
from unet3d.errors import RunError
from unet3d.sweep.sweep_folder import (
    SweepFacts,
    SweepFolder,
    best_epoch,
    find_sweep,
    sweep_folder,
)
from unet3d.sweep.trial import Trial, TrialResult


def test_one_process_a_sweep(tmp_path: Path) -> None:
    """A second one of the same name is refused, until the first is over."""
    folder, other = SweepFolder(tmp_path / "s"), SweepFolder(tmp_path / "s")
    refused = pytest.raises(RunError, match="sweep.name: s is already running")
    with folder.held(), refused, other.held():
        pass
    with other.held():
        pass


def test_files_and_keys_stay_those_of_older_sweeps(tmp_path: Path) -> None:
    """Sweeps that an earlier version made can be resumed and reported."""
    folder = sweep_folder(tmp_path, "s")
    trial = Trial(3, ("lr=0.1",), {"lr": "0.1"}, small_config(tmp_path, "lr=0.1"))
    folder.write_facts(SweepFacts("s", "abc", "python sweep.py -m lr=0.1,1", ("lr",)))
    job = folder.start(trial)
    folder.finish(trial, TrialResult("finished", best=0.5, run_id="def"))
    assert job.path == tmp_path / "sweeps" / "s" / "trials" / trial.key
    assert json.loads((folder.path / "sweep.json").read_text()) == {
        "name": "s",
        "run_id": "abc",
        "command": "python sweep.py -m lr=0.1,1",
        "differs": ["lr"],
    }
    assert json.loads((job.path / "trial.json").read_text()) == {
        "number": 3,
        "name": "lr=0.1",
        "differs": {"lr": "0.1"},
        "command": "python train.py lr=0.1",
    }
    assert json.loads((job.path / "ended.json").read_text())["state"] == "finished"


def test_an_older_sweep_is_read(tmp_path: Path) -> None:
    """Facts, trials and results as they are on disk, with keys that are not known left out."""
    path = write_sweep(tmp_path, "old", run_id="abc")
    write_trial(path, 0, {"lr": "0.1"}, [0.2, 0.4], unknown=1)
    write_trial(path, 1, {"lr": "1"}, [0.3, 0.1], "open")
    folder = SweepFolder(path)
    assert folder.facts() == SweepFacts("old", "abc", COMMAND, ())
    ended, open_ = sorted(folder.trials(), key=lambda record: record.number)
    assert (ended.name, ended.swept, ended.command) == (
        "lr=0.1",
        {"lr": "0.1"},
        "python train.py lr=0.1",
    )
    assert ended.result == TrialResult("finished", 0.4, 2, 2, run_id=f"{0:032x}")
    assert open_.result == TrialResult("open", 0.3, 1, 2)
    assert [record["epoch"] for record in open_.epochs] == [1, 2]


def test_a_new_attempt_forgets_how_the_last_one_ended(tmp_path: Path) -> None:
    """Its stop and its result, or the next attempt would stop at once; not its run."""
    folder = sweep_folder(tmp_path, "s")
    trial = Trial(0, (), {}, small_config(tmp_path))
    job = folder.start(trial)
    job.announce_run("abc")
    job.ask_to_stop(2)
    folder.finish(trial, TrialResult("stopped"))
    folder.start(trial)
    assert folder.result(trial) is None
    assert (job.stop_signal(), job.run_id()) == (None, "abc")


def test_unknown_sweeps_are_errors_that_list_the_others(tmp_path: Path) -> None:
    """A name that is mistyped or missing."""
    write_sweep(tmp_path, "one")
    assert find_sweep(tmp_path, "one").path == tmp_path / "sweeps" / "one"
    with pytest.raises(RunError, match="sweep: two does not exist; in .*/sweeps: one"):
        find_sweep(tmp_path, "two")
    with pytest.raises(RunError, match="sweep is not set; type sweep=<name>; in .*: no sweeps"):
        find_sweep(tmp_path / "sweeps", "")


def test_the_first_of_equal_epochs_is_the_best() -> None:
    """Epochs without a validation do not count."""
    values = [None, 0.3, 0.5, 0.5]
    records = [
        {"epoch": epoch, "metrics": {} if value is None else {"val/dice": value}}
        for epoch, value in enumerate(values, start=1)
    ]
    assert best_epoch(records) == (0.5, 3)
    assert best_epoch(records[:1]) == (None, 0)
