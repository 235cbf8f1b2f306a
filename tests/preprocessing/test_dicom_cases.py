"""Training on DICOM series: found by a table or a pattern, stored as the NIfTI of the same scan."""

from __future__ import annotations

import logging
from pathlib import Path

import numpy as np
import pytest

from tests.dicom_files import AFFINE, scan, write_series
from tests.nifti_files import config, save
from unet3d.config.schema import DataConfig
from unet3d.datasets.folders import read_folders
from unet3d.datasets.layouts import find_layout
from unet3d.datasets.read import read_dataset
from unet3d.datasets.table import read_table
from unet3d.errors import DataError
from unet3d.preprocessing.channel_methods import with_methods
from unet3d.preprocessing.preprocess import preprocess
from unet3d.preprocessing.store_key import case_identities, input_identity

for module in ("pydicom", "SimpleITK"):
    pytest.importorskip(module, reason="the extra [dicom] is not installed")

LABELS = {1: "tumour"}


def write_cases(root: Path, cases: int = 3, modalities: tuple[str, ...] = ("CT",)) -> Path:
    """<case>/<sequence>/*.dcm and <case>/label.nii.gz, and a table of them; returns the table."""
    names = [f"scan{index}" for index in range(len(modalities))]
    lines = [",".join(["case", *names, "label"])]
    for case in range(cases):
        folder = root / f"p{case}"
        for index, (name, modality) in enumerate(zip(names, modalities, strict=True)):
            write_series(folder / name, scan(10 * case + index), modality=modality)
        label = np.zeros(scan().shape, np.uint8)
        label[4:9, 3:7, 2:5] = 1
        save(folder / "label.nii.gz", label, AFFINE)
        images = [f"p{case}/{name}" for name in names]
        lines.append(",".join([f"p{case}", *images, f"p{case}/label.nii.gz"]))
    table = root / "cases.csv"
    table.write_text("\n".join(lines) + "\n")
    return table


def settings(tmp_path: Path, root: Path, **changes: object) -> DataConfig:
    given = {"layout": "table", "root": str(root), "labels": LABELS, **changes}
    return config(tmp_path, **given)


def test_a_store_of_series_is_that_of_their_nifti_files(tmp_path: Path) -> None:
    """The same voxels, labels and geometry; CT by the modality, as the name says nothing."""
    table = write_cases(tmp_path / "dicom")
    lines = ["case,scan0,label"]
    for case in range(3):
        save(tmp_path / "nifti" / f"p{case}.nii.gz", scan(10 * case), AFFINE)
        lines.append(f"p{case},p{case}.nii.gz,{tmp_path}/dicom/p{case}/label.nii.gz")
    (tmp_path / "nifti" / "cases.csv").write_text("\n".join(lines) + "\n")
    series = preprocess(settings(tmp_path, table))
    files = preprocess(settings(tmp_path, tmp_path / "nifti" / "cases.csv", normalize="ct"))
    assert series.normalize == files.normalize == ("ct",) and series.path != files.path
    for case in ("p0", "p1", "p2"):
        np.testing.assert_array_equal(series.image(case), files.image(case))
        np.testing.assert_array_equal(series.label(case), files.label(case))
        assert series.label(case).any()
        np.testing.assert_allclose(series.cases[case].spacing, files.cases[case].spacing, atol=1e-5)


def test_a_pattern_finds_series(tmp_path: Path) -> None:
    """One that ends in /, with a pattern of its own for the labels; as `unet3d doctor` suggests."""
    root = write_cases(tmp_path, modalities=("MR", "MR")).parent
    dataset = read_folders(root, "{case}/{channel}/", LABELS, label="{case}/label.nii.gz")
    assert dataset.channels == ("scan0", "scan1")
    assert [case.id for case in dataset.cases] == ["p0", "p1", "p2"]
    assert dataset.cases[0].images == ("p0/scan0", "p0/scan1")
    found = find_layout(root)
    assert found is not None and found.overrides[1:] == (
        "data.pattern={case}/{channel}/",
        "data.label={case}/label.nii.gz",
    )
    with pytest.raises(DataError, match="labels need a pattern of their own, such as"):
        read_folders(root, "{case}/{channel}/", LABELS)
    with pytest.raises(DataError, match="no folder with a DICOM series that fits data.pattern="):
        read_folders(root, "{case}/dicom/{channel}/", LABELS, label="{case}/label.nii.gz")


def test_cases_without_a_name_are_called_as_their_folders(tmp_path: Path) -> None:
    """The folder above several series, or that of a single one; labels must be files."""
    table = write_cases(tmp_path, modalities=("MR", "MR"))
    rows = [line.split(",", 1)[1] for line in table.read_text().splitlines()]
    table.write_text("\n".join(rows))
    assert [case.id for case in read_table(table, LABELS).cases] == ["p0", "p1", "p2"]
    table.write_text("scan,label\np0/scan0,p0/label.nii.gz\n")
    assert read_table(table, LABELS).cases[0].id == "scan0"
    table.write_text("scan,label\np0/scan0,p0/scan1\n")
    with pytest.raises(DataError, match="'p0/scan1' in place of an image file"):
        read_table(table, LABELS)


def test_the_modality_chooses_the_normalisation(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """Of each sequence, whatever the values; one that is CT in some cases only is an error."""
    caplog.set_level(logging.INFO)
    data = settings(tmp_path, write_cases(tmp_path / "both", modalities=("MR", "CT")))
    assert with_methods(data, read_dataset(data)).normalize == ["zscore", "ct"]
    assert "sequence scan0 is normalised as zscore, as its DICOM series are MR" in caplog.text
    table = write_cases(tmp_path / "mixed")
    write_series(tmp_path / "mixed" / "p1" / "scan0", scan(), modality="MR")
    data = settings(tmp_path, table)
    with pytest.raises(DataError, match="p1/scan0: its modality is MR, that of .*p0/scan0 CT, for"):
        with_methods(data, read_dataset(data))
    data.normalize = "zscore"
    assert with_methods(data, read_dataset(data)).normalize == ["zscore"]


def test_a_series_is_known_by_its_content(tmp_path: Path) -> None:
    """Files of other names are the same series; one slice that changes makes another."""
    table = write_cases(tmp_path, cases=2)

    def identity() -> dict[str, str]:
        return case_identities(input_identity(read_table(table, LABELS)))

    before = identity()
    files = sorted((tmp_path / "p0" / "scan0").iterdir())
    files[0].rename(files[0].with_name("zzz.dcm"))
    assert identity() == before and all(before.values())
    changed = bytearray(files[1].read_bytes())
    changed[-1] ^= 1
    files[1].write_bytes(changed)
    after = identity()
    assert after["p0"] != before["p0"] and after["p1"] == before["p1"]


def test_a_slice_that_is_missing_is_named_before_any_work(tmp_path: Path) -> None:
    """With the case that it belongs to, as for a broken file."""
    table = write_cases(tmp_path)
    sorted((tmp_path / "p1" / "scan0").iterdir())[1].unlink()
    with pytest.raises(DataError, match=r"p1/scan0: .* mm apart, others 3 mm; slices are missing"):
        preprocess(settings(tmp_path, table))
