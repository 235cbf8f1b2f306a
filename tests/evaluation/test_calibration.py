"""Calibration: counts that add up over cases, and the error that follows from them."""

from __future__ import annotations

import csv
from pathlib import Path

import numpy as np
import pytest

from unet3d.config.schema import DataConfig
from unet3d.evaluation.calibration import BINS, Calibration
from unet3d.sampling.targets import make_targets

LABELS = {1: "edema", 2: "core"}


def calibration(target: str = "regions", ignore: int | None = None) -> Calibration:
    settings = DataConfig(name="x", root="x", target=target)
    return Calibration(make_targets(settings, LABELS), ignore)


def some_voxels(seed: int, honest: bool) -> tuple[np.ndarray, np.ndarray]:
    """Probabilities (n, 2) of two labels, as often right as they say, or as their squares."""
    random = np.random.default_rng(seed)
    share = random.random(200_000)
    inside = random.random(share.size) < (share if honest else share**2)
    return np.stack([share, 1 - share], axis=-1), np.where(inside, 1, 2).astype(np.uint8)


def test_honest_probabilities_have_no_error() -> None:
    """Those that are too high have that of the definition, counted one by one."""
    honest = calibration()
    honest.add(*some_voxels(0, True))
    assert honest.errors()["ece_edema"] < 0.01
    shares, labels = some_voxels(1, False)
    other = calibration()
    other.add(shares, labels)
    share, inside, expected = shares[:, 0], labels == 1, 0.0
    for low in np.arange(BINS) / BINS:
        here = (share >= low) & (share < low + 1 / BINS)
        expected += here.mean() * abs(share[here].mean() - inside[here].mean())
    assert other.errors()["ece_edema"] == pytest.approx(expected)
    assert expected == pytest.approx(1 / 6, abs=0.01)  # the mean of p - p^2


def test_cases_add_up_to_one() -> None:
    """However the voxels are divided among planes and cases."""
    shares, labels = some_voxels(2, False)
    whole, parts = calibration(), calibration()
    whole.add(shares, labels)
    for part in np.array_split(np.arange(len(labels)), 7):
        parts.add(shares[part], labels[part])
    assert parts.errors() == pytest.approx(whole.errors())
    assert parts.counts.nbytes == whole.counts.nbytes < 10_000


def test_sure_background_hides_in_all_voxels_only() -> None:
    """The second figure is of the voxels about which there is a question."""
    shares, labels = some_voxels(3, False)
    found = calibration()
    found.add(shares, labels)
    found.add(np.zeros((800_000, 2)), np.zeros(800_000, np.uint8))
    errors = found.errors()
    assert errors["ece_edema"] < 0.3 * errors["ece_in_question_edema"]
    assert errors["ece_in_question_edema"] == pytest.approx(1 / 6, abs=0.02)


def test_classes_leave_out_background_and_ignored_voxels_count_nowhere() -> None:
    """The same counts with and without them."""
    found = calibration("classes", ignore=2)
    assert found.names == ["edema", "core"]
    shares = np.array([[0.7, 0.2, 0.1], [0.0, 1.0, 0.0]])
    found.add(shares, np.array([1, 2], np.uint8))
    assert found.counts[0, 0].sum() == 2  # one voxel for each of two classes
    assert found.errors()["ece_edema"] == pytest.approx(0.8)


def test_table_and_picture(tmp_path: Path) -> None:
    """A row a region and bin; an empty bin has no means."""
    found = calibration()
    found.add(np.array([[0.31, 0.02]]), np.array([1], np.uint8))
    found.write(tmp_path)
    with (tmp_path / "calibration.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert len(rows) == 2 * BINS
    (row,) = [row for row in rows if row["region"] == "edema" and row["voxels"] == "1"]
    assert (row["from"], row["to"]) == ("0.3", "0.35")
    assert (row["mean_probability"], row["share_in_region"]) == ("0.310000", "1.000000")
    assert rows[0]["mean_probability"] == ""
    assert (tmp_path / "calibration.png").read_bytes().startswith(b"\x89PNG")
