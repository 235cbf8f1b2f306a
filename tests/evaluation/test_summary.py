"""The tables and pictures of all cases."""

from __future__ import annotations

import csv
import json
from pathlib import Path

import numpy as np
import pytest

from unet3d.evaluation.region_metrics import ScoreRow
from unet3d.evaluation.summary import column_statistics, write_table

REGIONS = ("WT", "TC")


def some_rows(count: int = 12) -> list[ScoreRow]:
    random = np.random.default_rng(0)
    return [
        (
            f"case, {case}",
            region,
            {"dice": random.random(), "hd95": 9 * random.random(), "nsd": random.random()},
        )
        for case in range(count)
        for region in REGIONS
    ]


def read(path: Path) -> list[dict[str, str]]:
    with path.open(newline="") as file:
        return list(csv.DictReader(file))


def test_cases_are_written_as_given(tmp_path: Path) -> None:
    rows = some_rows()
    write_table(rows, tmp_path)
    written = read(tmp_path / "cases.csv")
    assert [(line["case"], line["region"]) for line in written] == [row[:2] for row in rows]
    for line, (_, _, metrics) in zip(written, rows, strict=True):
        assert {name: float(line[name]) for name in metrics} == pytest.approx(metrics, abs=1e-6)


def test_summary(tmp_path: Path) -> None:
    rows = some_rows()
    summary = write_table(rows, tmp_path)
    assert json.loads((tmp_path / "summary.json").read_text()) == summary
    lines = read(tmp_path / "summary.csv")
    assert [(line["region"], line["metric"]) for line in lines] == [
        (region, metric) for region in REGIONS for metric in ("dice", "hd95", "nsd")
    ]
    for line in lines:
        name, region = line["metric"], line["region"]
        values = np.array([metrics[name] for _, where, metrics in rows if where == region])
        assert int(line["n"]) == len(values)
        assert summary[region][name]["mean"] == pytest.approx(values.mean())
        assert float(line["mean"]) == pytest.approx(values.mean(), abs=1e-6)
        assert float(line["std"]) == pytest.approx(values.std(ddof=1), abs=1e-6)
        assert float(line["median"]) == pytest.approx(np.median(values), abs=1e-6)
        assert float(line["ci95_low"]) < values.mean() < float(line["ci95_high"])


def test_interval_of_many_values_is_the_normal_one() -> None:
    values = np.random.default_rng(1).normal(5, 2, (400, 1))
    low, high = column_statistics(values)[4:, 0]
    error = values.std(ddof=1) / np.sqrt(400)
    assert (low, high) == pytest.approx(
        (values.mean() - 1.96 * error, values.mean() + 1.96 * error), abs=0.1 * error
    )


def test_the_same_rows_give_the_same_files(tmp_path: Path) -> None:
    for folder in ("one", "two"):
        write_table(some_rows(), tmp_path / folder)
    for name in ("cases.csv", "summary.csv", "summary.json", "boxplots.png"):
        assert (tmp_path / "one" / name).read_bytes() == (tmp_path / "two" / name).read_bytes()


def test_a_single_case(tmp_path: Path) -> None:
    write_table([("a", "WT", {"dice": 0.5})], tmp_path)
    (line,) = read(tmp_path / "summary.csv")
    assert line["std"] == "nan"
    assert json.loads((tmp_path / "summary.json").read_text())["WT"]["dice"]["std"] is None
    assert float(line["ci95_low"]) == float(line["ci95_high"]) == 0.5


def test_the_files_are_whole_and_alone(tmp_path: Path) -> None:
    write_table(some_rows(), tmp_path / "new")
    write_table(some_rows(3), tmp_path / "new")  # replaces what was there
    names = {path.name for path in (tmp_path / "new").iterdir()}
    assert names == {"cases.csv", "summary.csv", "summary.json", "boxplots.png"}
    assert len(read(tmp_path / "new" / "cases.csv")) == 6
    assert (tmp_path / "new" / "boxplots.png").read_bytes().startswith(b"\x89PNG")


def test_rows_that_cannot_be_tabulated(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="no case"):
        write_table([], tmp_path)
    with pytest.raises(ValueError, match="b, WT: metrics"):
        write_table([("a", "WT", {"dice": 1.0}), ("b", "WT", {"nsd": 1.0})], tmp_path)
    assert not list(tmp_path.iterdir())
