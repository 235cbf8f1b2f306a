"""`unet3d simulate`: from settings or a sweep to tables and pictures, without running anything."""

from __future__ import annotations

import csv
import json
from pathlib import Path

import pytest

from unet3d.cli import main
from unet3d.planning.simulated import Cluster
from unet3d.scaling.simulate import policies
from unet3d.scaling.trials import grid_of


def test_the_papers_study_is_explained_by_one_constant(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """x14 is fitted; x11, where the paper has x12, follows. All of it is marked as simulated."""
    main(
        [
            *("simulate", "experiment=paper_grid", "timing=paper", "warm=false"),
            *("gpus=1,32", "price=2", f"output_dir={tmp_path}"),
        ]
    )
    told = capsys.readouterr().out
    assert "32 trials, simulated, not measured" in told and "are assumed" in told
    folder = tmp_path / "simulations" / "paper_grid"
    rows = list(csv.DictReader((folder / "table.csv").open()))
    speedups = {row["parallelism"]: float(row["speedup"]) for row in rows if row["devices"] == "32"}
    assert speedups["experiment"] == pytest.approx(14, abs=0.2)
    assert speedups["data"] == pytest.approx(11, abs=0.5)
    assert float(rows[0]["price"]) == pytest.approx(2 * float(rows[0]["device_hours"]))
    assert json.loads((folder / "simulation.json").read_text())["simulated"] is True
    for name in ("speedup.png", "speedup.pdf", "gantt.png"):
        assert (folder / name).stat().st_size > 1000


def test_the_grid_is_that_of_a_sweep() -> None:
    """A preset's parameters, and those typed over them."""
    assert len(grid_of(["experiment=paper_grid"])) == 32
    own = grid_of(["experiment=paper_grid", "lr=1e-3"])
    assert len(own) == 8 and all("lr=0.001" in overrides for overrides in own)
    assert len(grid_of(["lr=1e-3,1e-4", "model.norm=batch,group"])) == 4


def test_policies_of_a_cluster() -> None:
    """One device can be used in one way; several nodes also by a trial on each."""
    assert len(policies(Cluster(1, 1))) == 1
    assert [p.devices for p in policies(Cluster(2, 4))] == [1, 1, 8, 4]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["timing=nowhere.json"], "timing: nowhere.json is neither a file nor one of the machines"),
        (["timing=v100", "gpus=6"], "gpus: 6 is no multiple of gpus_per_node=4"),
        ([], "timing: nothing is measured in"),
        (["sweep=none"], "sweep: none does not exist"),
    ],
)
def test_what_cannot_be_simulated_is_one_clear_error(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], arguments: list[str], message: str
) -> None:
    """With exit code 2, before any long work."""
    with pytest.raises(SystemExit) as ended:
        main(["simulate", *arguments, f"output_dir={tmp_path}"])
    assert ended.value.code == 2
    assert message in capsys.readouterr().err
