"""`unet3d runs`: every folder is shown, as what it is."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.small import small_config
from unet3d.config.schema import RunsConfig
from unet3d.sweep.runs import runs, table


def test_folders_that_are_no_runs_are_shown_as_what_they_are(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """A run or sweep that was killed before its first file, an empty folder, a study."""
    (tmp_path / "runs" / "interrupted" / "checkpoints").mkdir(parents=True)
    (tmp_path / "runs" / "empty").mkdir()
    (tmp_path / "sweeps" / "begun" / "trials").mkdir(parents=True)
    study = tmp_path / "scaling" / "study"
    (study / "cells").mkdir(parents=True)
    (study / "study.json").write_text("{}")
    (study / "cells" / "data-1-0.json").write_text("{}")
    runs(small_config(tmp_path), RunsConfig())
    lines = capsys.readouterr().out.splitlines()
    shown = {line.split()[0]: line for line in lines[1:] if line}
    assert "no config.yaml: its start was interrupted" in shown["interrupted"]
    assert "no config.yaml: an empty folder" in shown["empty"]
    assert "no sweep.json: its start was interrupted" in shown["begun"]
    assert "not finished" in shown["study"] and "1 parts measured" in shown["study"]


def test_a_table_that_is_wider_than_the_terminal_is_a_list() -> None:
    """Nothing is cut: ids are there to be copied."""
    rows = [("run", "state", "best"), ("a" * 32, "FINISHED", "0.9"), ("b" * 32, "FAILED", "")]
    assert table(rows, 80).splitlines()[1] == f"{'a' * 32}  FINISHED  0.9"
    listed = table(rows, 40).splitlines()
    assert listed == ["a" * 32, "  state: FINISHED", "  best: 0.9", "b" * 32, "  state: FAILED"]
