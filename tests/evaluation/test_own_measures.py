"""Metrics of the user's own in `unet3d evaluate` of two folders; of runs: test_folds.py."""

from __future__ import annotations

import csv
from pathlib import Path

import numpy as np
import pytest

from tests.nifti_files import save
from unet3d.cli import main
from unet3d.errors import ConfigError
from unet3d.evaluation.own_measures import chosen_measures
from unet3d.evaluation.summary import column_statistics
from unet3d.sampling.targets import Targets

HERE = "tests.training.some_metrics"
TARGETS = Targets(("core", "whole"), np.zeros((256, 2), np.float32), False)


def test_two_folders_are_measured_by_them(tmp_path: Path) -> None:
    """A value for each region or for the case, in the tables; where it is NaN it does not count."""
    for case, filled in (("a", True), ("b", False)):
        label: np.ndarray = np.zeros((6, 6, 6), np.uint8)
        label[1:4, 1:4, 1:4] = 2 * filled
        save(tmp_path / "truth" / f"{case}.nii.gz", label)
        label[1, 1:4, 1:4] = filled
        save(tmp_path / "pred" / f"{case}.nii.gz", label)
    main(
        [
            *("evaluate", f"pred={tmp_path}/pred", f"truth={tmp_path}/truth", "workers=1"),
            "regions={whole: [1, 2], core: [2]}",
            f"metrics={{overlap: {HERE}.overlap, ml: {{_target_: {HERE}.volume, scale: 1000}}}}",
        ]
    )
    with (tmp_path / "pred" / "evaluation" / "cases.csv").open(newline="") as file:
        rows = {(row["case"], row["region"]): row for row in csv.DictReader(file)}
    for row in rows.values():
        assert float(row["overlap"]) == pytest.approx(float(row["dice"]), abs=1e-5)
    assert float(rows["a", "core"]["ml"]) == float(rows["a", "whole"]["ml"]) == 2 * (27 + 18)
    assert rows["b", "core"]["ml"] == "nan"
    with (tmp_path / "pred" / "evaluation" / "summary.csv").open(newline="") as file:
        means = {(row["region"], row["metric"]): row for row in csv.DictReader(file)}
    assert means["core", "ml"]["n"] == "1" and float(means["core", "ml"]["mean"]) == 90
    assert means["core", "dice"]["n"] == "2"


def test_what_cannot_be_used_is_named(caplog: pytest.LogCaptureFixture) -> None:
    """An error where it was typed; a warning where it is only the run's, whose package is away."""
    with pytest.raises(ConfigError, match="metrics.a: nolab.metrics.f is not found"):
        chosen_measures({"a": "nolab.metrics.f"}, None, TARGETS)
    with pytest.raises(ConfigError, match="metrics: .* is not possible; write {volume: mylab"):
        chosen_measures({}, None, TARGETS)
    of_run = {"a": "nolab.metrics.f", "b": f"{HERE}.volume"}
    assert [one.name for one in chosen_measures(None, of_run, TARGETS)] == ["b"]
    assert "validation.metrics.a: nolab.metrics.f is not found" in caplog.text
    assert [one.name for one in chosen_measures({"c": f"{HERE}.volume"}, of_run, TARGETS)] == ["c"]


def test_statistics_of_values_that_are_not_known() -> None:
    """Of the others alone; other columns are as they would be without."""
    values = np.array([[1.0, np.nan, np.nan], [2.0, 4.0, np.nan], [6.0, 8.0, np.nan]])
    found = column_statistics(values)
    np.testing.assert_array_equal(found[0], [3, 2, 0])
    np.testing.assert_allclose(found[1:3, 1], [6, np.std([4, 8], ddof=1)])
    np.testing.assert_array_equal(found[:, 0], column_statistics(values[:, :1])[:, 0])
    assert np.isnan(found[1:, 2]).all()
