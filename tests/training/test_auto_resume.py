"""resume=auto: what makes two commands the same, and what becomes of the run that one began."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.small import small_config
from unet3d.cli.programs import train
from unet3d.distributed.run_state import RUNNING, State, state_text, this_machine
from unet3d.errors import RunError
from unet3d.run_folder import RunFolder
from unet3d.training import auto_resume
from unet3d.training.auto_resume import command_key, job
from unet3d.training.checkpoint import read_progress

TINY = ("model.filters=2", "model.depth=1", "data.patch=[8,8,8]", "steps_per_epoch=1")


@pytest.fixture(autouse=True)
def no_scheduler(monkeypatch: pytest.MonkeyPatch) -> None:
    """The tests may themselves run in a job."""
    for name in ("SLURM_JOB_ID", "SLURM_ARRAY_JOB_ID", "SLURM_ARRAY_TASK_ID"):
        monkeypatch.delenv(name, raising=False)


def command(folder: Path, *overrides: str) -> float | None:
    """`train.py` with resume=auto and the smallest training."""
    typed = [*TINY, "resume=auto", *overrides]
    return train(small_config(folder, *typed), typed)


def runs(folder: Path) -> list[RunFolder]:
    """All runs of an output folder."""
    return [RunFolder(path) for path in sorted((folder / "runs").iterdir())]


def test_a_finished_run_is_left_as_it_is(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The same command again says so and ends well; another setting begins another run."""
    best = command(tmp_path)
    before = {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*") if path.is_file()}
    said: list[str] = []
    monkeypatch.setattr(auto_resume.log, "info", lambda text, *values: said.append(text % values))
    assert command(tmp_path) == best
    (line,) = said
    assert "is FINISHED with best val/dice" in line
    assert {p: p.stat().st_mtime_ns for p in tmp_path.rglob("*") if p.is_file()} == before
    command(tmp_path, "seed=1")
    assert len(runs(tmp_path)) == 2


def test_a_run_that_was_lost_is_gone_on_with(tmp_path: Path) -> None:
    """By the same command after a kill: from its checkpoint, or, before the first, from its start.

    data.patch=auto keeps the patch that the run began with.
    """
    command(tmp_path, "epochs=2", "data.patch=auto")
    (run,) = runs(tmp_path)
    lost = State(RUNNING, host="gone", machine=this_machine(), pid=2**22 + 1, started=1)
    for checkpoint in (run.checkpoints / "none", run.last_checkpoint):
        checkpoint.unlink(missing_ok=True)
        run.previous_checkpoint.unlink(missing_ok=True)
        run.state.write_text(state_text(lost))
        command(tmp_path, "epochs=2", "data.patch=auto")
        assert runs(tmp_path) == [run]
        assert [record["epoch"] for record in read_progress(run).history] == [1, 2]


def test_a_run_that_another_process_trains_is_waited_for(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A job that was queued again may find the end of its former process; then one clear line."""
    monkeypatch.setattr(auto_resume, "FORMER_SECONDS", 0.5)
    command(tmp_path)
    (run,) = runs(tmp_path)
    run.state.write_text(state_text(State(RUNNING, host="n9", machine="another", pid=1)))
    with pytest.raises(RunError, match=f"run {run.run_id} is being trained"):
        command(tmp_path)


def test_a_job_that_never_comes_further_is_not_begun_for_ever(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its time may be too short for the start; a queue would begin it a hundred times."""
    monkeypatch.setenv("SLURM_JOB_ID", "12")
    command(tmp_path)
    (run,) = runs(tmp_path)
    config = small_config(tmp_path, *TINY)
    for _ in range(auto_resume.ATTEMPTS):
        auto_resume.go_on(config, run)
    with pytest.raises(RunError, match="begun 3 times at step 1 without a further one"):
        auto_resume.go_on(config, run)
    auto_resume.go_on(config, run)  # who types it again has mended something
    monkeypatch.delenv("SLURM_JOB_ID")
    for _ in range(auto_resume.ATTEMPTS + 1):
        auto_resume.go_on(config, run)


def test_commands_are_told_apart_by_what_shapes_the_result_by_names_and_by_the_job(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where and how fast a run computes makes no other command of it."""

    def key(*overrides: str) -> str:
        return command_key(small_config(tmp_path, *overrides))

    assert key() == key("threads=1") == key("parallel=data", "resume=auto")
    others = [
        key("lr=0.5"),
        key("epochs=7"),
        key("tracking.run_name=b"),
        key("tracking.experiment=b"),
        key("job=night"),
    ]
    monkeypatch.setenv("SLURM_JOB_ID", "12")
    others.append(key())
    assert len({*others, key("lr=0.5")}) == 7
    assert key("job=night") == others[4]  # a chain of jobs, each of which goes on


def test_the_job_of_a_scheduler_keeps_its_name_when_it_is_queued_again() -> None:
    """A task of an array has an id of its own, by which it is known after a restart."""
    assert job({}) == ""
    assert job({"SLURM_JOB_ID": "12", "SLURM_RESTART_COUNT": "1"}) == job({"SLURM_JOB_ID": "12"})
    task = {"SLURM_JOB_ID": "13", "SLURM_ARRAY_JOB_ID": "12", "SLURM_ARRAY_TASK_ID": "4"}
    assert job(task) == job({**task, "SLURM_JOB_ID": "99"}) == "slurm-12_4"
