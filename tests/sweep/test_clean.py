"""`unet3d clean`: what it finds, what it leaves alone, and that it removes nothing unasked."""

from __future__ import annotations

import json
import os
import time
from pathlib import Path

import numpy as np
import pytest

from tests.small import small_config
from unet3d.config.schema import CleanConfig
from unet3d.distributed.run_state import FINISHED, KILLED, State, state_text
from unet3d.errors import RunError
from unet3d.preprocessing.preprocess import preprocess
from unet3d.run_folder import RunFolder, run_folder
from unet3d.sweep.clean import clean
from unet3d.training.checkpoint import (
    TrainingProgress,
    load_checkpoint,
    read_progress,
    save_checkpoint,
)

NOW = CleanConfig(days=0)


def ended_run(output: Path, run_id: str, status: str) -> RunFolder:
    folder = run_folder(output, run_id)
    folder.checkpoints.mkdir(parents=True)
    for best in (0.5, 0.75):  # two checkpoints
        save_checkpoint(folder, {"w": np.ones(1000)}, TrainingProgress(step=3, best=best))
    folder.best_weights.write_bytes(b"weights")
    folder.state.write_text(state_text(State(status)))
    return folder


def test_only_yes_removes_and_only_of_finished_runs(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Best value and history stay for tables; resume= then says what was done to it."""
    config = small_config(tmp_path)
    finished = ended_run(tmp_path, "finished", FINISHED)
    killed = ended_run(tmp_path, "killed", KILLED)
    (found,) = clean(config, NOW)
    assert found.path == finished.checkpoints and found.size > 16_000
    assert "yes=true removes" in capsys.readouterr().out
    assert finished.previous_checkpoint.exists()
    clean(config, CleanConfig(days=0, yes=True))
    assert read_progress(finished).best == 0.75 and not finished.previous_checkpoint.exists()
    assert finished.best_weights.exists() and killed.previous_checkpoint.exists()
    with pytest.raises(RunError, match="removed by unet3d clean; .* init=finished"):
        load_checkpoint(finished, {"w": np.ones(1000)})
    assert clean(config, NOW) == []


def test_what_was_written_to_lately_stays(tmp_path: Path) -> None:
    """`days` counts from the last change."""
    config = small_config(tmp_path)
    folder = ended_run(tmp_path, "finished", FINISHED)
    assert clean(config, CleanConfig(days=7)) == []
    for path in (folder.last_checkpoint, folder.previous_checkpoint):
        os.utime(path, (0, time.time() - 8 * 24 * 3600))
    assert len(clean(config, CleanConfig(days=7))) == 1


def test_a_store_goes_with_its_data_set(tmp_path: Path) -> None:
    """One whose data set is there stays, and so does one of which that is not known."""
    config = small_config(tmp_path)
    store = preprocess(config.data, progress=False).path
    root = Path(config.data.root)
    assert clean(config, NOW) == []
    root.rename(tmp_path / "elsewhere")
    (found,) = clean(config, CleanConfig(days=0, what="stores", yes=True))
    assert str(root.resolve()) in found.reason and not store.exists()
    other = tmp_path / "stores" / "old-1"
    other.mkdir(parents=True)
    (other / "store.json").write_text(json.dumps({"format": 3}))
    assert clean(config, NOW) == []
    (other / "store.json").write_text(json.dumps({"format": 1}))
    assert [one.kind for one in clean(config, NOW)] == ["stores"]


def test_folders_of_dead_processes_are_found(tmp_path: Path) -> None:
    """Of jobs and of half-written files; those of living processes stay."""
    jobs = tmp_path / ".jobs"
    from unet3d.files import _host, temporary_folder

    dead = jobs / f".job.tmp-4194304-{_host()}00000000"  # above the largest id of a process
    dead.mkdir(parents=True)
    with temporary_folder(jobs / "job") as living:
        assert [one.path for one in clean(small_config(tmp_path), NOW)] == [dead]
        clean(small_config(tmp_path), CleanConfig(days=0, yes=True))
        assert living.exists() and not dead.exists()
