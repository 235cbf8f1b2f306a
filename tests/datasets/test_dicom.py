"""A DICOM series as a scan: the geometry and the values of the NIfTI file of the same volume."""

from __future__ import annotations

from pathlib import Path

import nibabel
import numpy as np
import pytest

from tests.dicom_files import AFFINE, scan, write_series
from unet3d.datasets.dicom import is_dicom_folder, read_dicom, read_series
from unet3d.datasets.volumes import read_header, read_scan
from unet3d.errors import DataError

pydicom = pytest.importorskip("pydicom", reason="the extra [dicom] is not installed")
pytest.importorskip("SimpleITK", reason="the extra [dicom] is not installed")


def test_the_voxels_and_the_grid_are_those_of_the_nifti_file(tmp_path: Path) -> None:
    """Whatever the files are called and numbered; values are rescaled to Hounsfield units."""
    voxels = scan()
    write_series(tmp_path / "ct", voxels)
    (tmp_path / "ct" / "notes.txt").write_text("not an image")
    nibabel.save(nibabel.Nifti1Image(voxels, AFFINE), tmp_path / "ct.nii.gz")
    found, header = read_scan(tmp_path / "ct")
    expected, other = read_scan(tmp_path / "ct.nii.gz")
    np.testing.assert_array_equal(found, expected)
    np.testing.assert_allclose(header.affine, other.affine, atol=1e-4)
    assert header.shape == other.shape == read_header(tmp_path / "ct").shape
    np.testing.assert_allclose(header.spacing, (1.5, 2, 3), atol=1e-4)
    assert read_series(tmp_path / "ct").modality == "CT"
    assert is_dicom_folder(tmp_path / "ct") and not is_dicom_folder(tmp_path)


def test_slices_that_run_down_are_turned(tmp_path: Path) -> None:
    """A volume stored from head to feet has its last slice first; the world is the same."""
    voxels, down = scan(), AFFINE.copy()
    down[:3, 2] *= -1
    write_series(tmp_path / "ct", voxels, down)
    found, header = read_dicom(tmp_path / "ct")
    np.testing.assert_array_equal(found, voxels[:, :, ::-1])
    first = down @ np.array([0, 0, voxels.shape[2] - 1, 1])
    np.testing.assert_allclose(header.affine[:, 3], first, atol=1e-4)


def test_each_slice_has_a_slope_of_its_own(tmp_path: Path) -> None:
    """As in PET; whole numbers would lose it."""
    values = np.random.default_rng(0).integers(0, 1000, (6, 5, 4)) * 0.25
    slopes = [0.25, 0.5, 0.125, 0.25]
    write_series(tmp_path / "pet", values, modality="PT", slopes=slopes, intercept=0)
    found, header = read_dicom(tmp_path / "pet")
    np.testing.assert_allclose(found, values, atol=0.26)
    np.testing.assert_allclose(found[:, :, 0], values[:, :, 0], atol=1e-5)
    assert header.dtype == found.dtype == np.float32


def _change(path: Path, **fields: object) -> None:
    one = pydicom.dcmread(path)
    for name, value in fields.items():
        setattr(one, name, value)
    one.save_as(path)


def test_what_is_no_volume_is_one_line(tmp_path: Path) -> None:
    """Missing, double, tilted and turned slices, other sizes, two series: with the file's name."""
    for name, message in (
        ("missing", "ct: .*.dcm and .*.dcm are 6 mm apart, others 3 mm; slices are missing"),
        ("double", "image000.dcm and image005.dcm lie in one place"),
        ("turned", "its slices are not parallel; is it a localizer?"),
        ("sizes", "its slices have different sizes"),
        ("two", "holds 2 series: series 7 \\(8 images\\), series 8 \\(8 images\\); put each"),
        ("lacks", "is no series of slices of a volume"),
        ("frames", "has 3 frames in one file; convert it"),
        ("broken", "image003.dcm: cannot be read as DICOM"),
        ("one", "is the only image of its series"),
        ("tilted", "its slices are tilted against their axis"),
    ):
        folder = tmp_path / name / "ct"
        affine = AFFINE.copy()
        if name == "tilted":
            affine[:3, 2] += affine[:3, 1] * 0.3
        files = write_series(folder, scan(), affine)
        if name == "missing":
            files[3].unlink()
        elif name == "double":
            place = pydicom.dcmread(files[0]).ImagePositionPatient
            _change(files[1], ImagePositionPatient=place)
        elif name == "turned":
            _change(files[2], ImageOrientationPatient=[0, 1, 0, 0, 0, 1])
        elif name == "sizes":
            _change(files[2], PixelSpacing=[3, 3])
        elif name == "two":
            for file in write_series(tmp_path / "x", scan(), series="1.2.826.0.1.3680043.8.498.8"):
                file.rename(folder / f"b{file.name}")
        elif name == "lacks":
            _change(files[2], ImagePositionPatient=None)
        elif name == "frames":
            _change(files[2], NumberOfFrames=3)
        elif name == "broken":
            (folder / "image003.dcm").write_bytes(b"no image")
        elif name == "one":
            for file in files[1:]:
                file.unlink()
        with pytest.raises(DataError, match=message) as caught:
            read_dicom(folder)
        assert "\n" not in str(caught.value)
