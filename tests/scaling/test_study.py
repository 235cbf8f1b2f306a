"""`unet3d scaling`: cells, arithmetic, and a small study that is measured and resumed."""

from __future__ import annotations

import csv
import json
from pathlib import Path

import pytest

from tests.small import small_config
from unet3d import machine
from unet3d.cli import main
from unet3d.config.schema import ScalingConfig
from unet3d.errors import ConfigError, RunError
from unet3d.scaling.study import cell_overrides, plan_cells
from unet3d.scaling.study_report import CellResult, summarised


def test_every_mode_trains_the_same_trials(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """One device once; data one after another on all devices; hybrid two devices a trial."""
    monkeypatch.setattr(machine, "cores", lambda: 4)
    config = small_config(tmp_path, "batch_size=4")
    settings = ScalingConfig(devices=[4, 1, 2], modes=["experiment", "data", "hybrid"], trials=8)
    cells = plan_cells(config, settings)
    assert [(c.mode, c.devices, c.each, c.at_once) for c in cells] == [
        ("experiment", 1, 1, 1),
        ("experiment", 2, 1, 2),
        ("data", 2, 2, 1),
        ("experiment", 4, 1, 4),
        ("data", 4, 4, 1),
        ("hybrid", 4, 2, 2),
    ]
    for cell in cells:
        assert "seed=0,1,2,3,4,5,6,7" in cell_overrides(cell, config, settings)
    assert "parallel.devices=4" in cell_overrides(cells[4], config, settings)


def test_the_batch_of_a_replica_and_a_share_of_the_epochs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """weak=true multiplies the batch; fraction rounds epochs up, to one at the least."""
    monkeypatch.setattr(machine, "cores", lambda: 4)
    config = small_config(tmp_path, "batch_size=2", "epochs=30")
    settings = ScalingConfig(devices=[1, 4], modes=["data"], weak=True, fraction=0.05)
    own = cell_overrides(plan_cells(config, settings)[-1], config, settings)
    assert "batch_size=8" in own and "epochs=2" in own


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"modes": ["pipeline"]}, "modes: pipeline is not possible; choose of experiment, data"),
        ({"devices": [1, 64]}, "devices: 64 is more than the 2 CPUs of this machine"),
        ({"devices": []}, "devices: .* is not possible"),
        ({"modes": ["data"]}, "batch_size: 3 cannot be shared by the 2 devices .* batch_size=2"),
    ],
)
def test_what_cannot_be_measured_is_refused_before_any_work(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, changes: dict, message: str
) -> None:
    """In one line that says what is possible."""
    monkeypatch.setattr(machine, "cores", lambda: 2)
    config = small_config(tmp_path, "batch_size=3")
    with pytest.raises(ConfigError, match=message):
        plan_cells(config, ScalingConfig(**{"devices": [1, 2], **changes}))


def test_speed_ups_are_of_medians_against_one_device() -> None:
    """Three repeats of 90, 100 and 120 s against 200 s: twice as fast, with a spread of 30 %."""

    def cell(devices: int, repeat: int, seconds: float) -> CellResult:
        return CellResult("experiment", devices, repeat, seconds, 4, 5.0, {"step": seconds / 2})

    results = [cell(1, 0, 200.0), *(cell(2, n, s) for n, s in enumerate((120.0, 90.0, 100.0)))]
    alone, two = summarised(results)
    assert (alone.speedup, two.seconds, two.speedup) == (1.0, 100.0, 2.0)
    assert two.spread == pytest.approx(0.3) and two.parts == {"step": 50.0}
    with pytest.raises(RunError, match="nothing is measured on one device"):
        summarised(results[1:])


def test_a_study_is_measured_and_resumed(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Real sweeps; the same command measures only what is missing; other settings are refused."""
    typed = ["scaling", "experiment=smoke", "tracking=none", "trials=2", f"output_dir={tmp_path}"]
    main([*typed, "devices=1", "modes=experiment"])
    folder = tmp_path / "scaling" / "study"
    before = (folder / "cells" / "experiment-1-0.json").read_bytes()
    main([*typed, "devices=1,2", "modes=experiment"])
    assert (folder / "cells" / "experiment-1-0.json").read_bytes() == before
    rows = list(csv.DictReader((folder / "table.csv").open()))
    assert [row["devices"] for row in rows] == ["1", "2"]
    assert float(rows[0]["speedup"]) == 1 and float(rows[1]["step"]) > 0
    page = (folder / "index.html").read_text()
    assert "2 trials, measured; global batch fixed" in page
    for name in ("speedup.png", "speedup.pdf", "time.png"):
        assert (folder / name).stat().st_size > 1000
    assert json.loads((folder / "cells" / "experiment-2-0.json").read_text())["trials"] == 2
    with pytest.raises(SystemExit):
        main([*typed, "trials=3", "devices=1,2", "modes=experiment"])
    assert "is a study with other settings" in capsys.readouterr().err
