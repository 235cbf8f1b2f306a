"""The fingerprint of a data set, against figures from its files."""

from __future__ import annotations

import json

import numpy as np
import pytest

from tests.nifti_files import config, save, volumes, write_dataset
from unet3d.preprocessing.fingerprint import PERCENTILE_SAMPLE, measure_intensities
from unet3d.preprocessing.preprocess import find_store, preprocess

REGIONS = {"whole": [1, 2], "core": [2]}


def read(store) -> dict:
    return json.loads((store.path / "fingerprint.json").read_text())


def test_figures_are_those_of_the_files(tmp_path):
    """Intensities, volumes and shares from the raw voxels, one step at a time."""
    root = write_dataset(tmp_path / "raw", cases=3)
    _, label = volumes(1)
    label[6:8, 4:7, 2:5] = 2
    save(root / "labelsTr" / "case_1.nii.gz", label)  # voxels of 1 x 1 x 2 mm
    found = read(preprocess(config(tmp_path, regions=REGIONS)))
    inside = [volumes(index)[0][..., 0] for index in range(3)]
    inside = [voxels[voxels != 0].astype(float) for voxels in inside]
    pooled, channel = np.concatenate(inside), found["channels"]["sequence 0"]
    assert channel["mean"] == pytest.approx(pooled.mean(), rel=1e-5)
    assert channel["sd"] == pytest.approx(pooled.std(), rel=1e-5)
    for key, share in (("p0_5", 0.5), ("p50", 50), ("p99_5", 99.5)):
        each = [np.percentile(voxels, share) for voxels in inside]
        assert channel[key]["median"] == pytest.approx(np.median(each), rel=1e-5)
    assert found["cases"] == 3 and found["shape"]["median"] == [7, 9, 7]
    assert found["spacing_mm"]["median"] == [1, 1, 2]
    assert found["extent_mm"]["median"] == [7, 9, 14]
    core = found["labels"]["core"]
    assert core["volume_ml"]["max"] == pytest.approx(19 * 2 / 1000)
    assert core["volume_ml"]["min"] == pytest.approx(1 * 2 / 1000)
    assert core["share"] == pytest.approx((1 + 19 + 1) / (3 * 7 * 9 * 7))
    assert found["regions"]["core"] == core
    assert found["regions"]["whole"]["volume_ml"]["max"] == pytest.approx(45 * 2 / 1000)
    assert found["of_case"]["case_1"]["voxels"] == {"1": 26, "2": 19}


def test_resampling_changes_the_grid_but_not_the_files_spacing(tmp_path):
    """The planner needs the spacing that a case came with, and the volume stays about the same."""
    write_dataset(tmp_path / "raw", cases=1)
    own = read(preprocess(config(tmp_path)))
    finer = read(preprocess(config(tmp_path, spacing=[0.5, 0.5, 0.5])))
    assert finer["spacing_mm"]["median"] == [0.5, 0.5, 0.5]
    assert finer["file_spacing_mm"] == own["spacing_mm"]
    assert finer["shape"]["median"] == [14, 18, 28] and finer["extent_mm"] == own["extent_mm"]
    volume = own["labels"]["edema"]["volume_ml"]["median"]
    assert finer["labels"]["edema"]["volume_ml"]["median"] == pytest.approx(volume, rel=0.1)


def test_the_file_follows_cases_and_regions(tmp_path):
    """Written again where it is gone, where regions differ, and where cases were left out."""
    root = write_dataset(tmp_path / "raw", cases=2)
    label = (root / "labelsTr" / "case_1.nii.gz").read_bytes()
    (root / "labelsTr" / "case_1.nii.gz").unlink()
    assert find_store(config(tmp_path, on_bad_case="skip")) is None
    first = preprocess(config(tmp_path, on_bad_case="skip"))
    assert read(first)["cases"] == 1 and read(first)["regions"] == {}
    assert find_store(config(tmp_path, on_bad_case="skip")) == first
    (first.path / "fingerprint.json").unlink()
    preprocess(config(tmp_path, on_bad_case="skip", regions=REGIONS))
    assert read(first)["regions"].keys() == REGIONS.keys()
    preprocess(config(tmp_path, on_bad_case="skip", regions={"any": [1]}))
    assert list(read(first)["regions"]) == ["any"]
    (root / "labelsTr" / "case_1.nii.gz").write_bytes(label)
    assert read(preprocess(config(tmp_path)))["cases"] == 2


def test_a_sample_stands_for_a_large_channel():
    """Percentiles of a million voxels come from few of them, the same ones every time."""
    values = np.random.default_rng(0).normal(100, 15, 1_000_000).astype(np.float32)
    found = measure_intensities(values, 100.0)
    assert (
        found == measure_intensities(values, 100.0)
        and found.voxels == len(values) > PERCENTILE_SAMPLE
    )
    exact = np.percentile(values, (0.5, 50, 99.5))
    np.testing.assert_allclose((found.p0_5, found.p50, found.p99_5), exact, atol=2)
