"""`unet3d predict` and `view` on DICOM series, and DICOM-SEG read back by another program."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import nibabel
import numpy as np
import pytest

from tests.dicom_files import AFFINE, LPS, scan, write_series
from tests.small import small_config
from unet3d.config.schema import DataConfig, PredictConfig, ViewConfig
from unet3d.errors import ConfigError, DataError
from unet3d.inference.dicom_seg import write_dicom_seg
from unet3d.inference.ensemble import ensemble_of
from unet3d.inference.predict import check_format, predict
from unet3d.inference.scan import Scan, find_scans, prepare_scan, write_segmentation
from unet3d.training.run import run_training
from unet3d.viewer.view import view

for name in ("pydicom", "SimpleITK", "highdicom"):
    pytest.importorskip(name, reason="the extra [dicom] is not installed")

NAMES = {1: "edema", 4: "enhancing tumour"}


def some_labels(seed: int = 0) -> np.ndarray:
    found: np.ndarray = np.zeros(scan().shape, np.uint8)
    found[4:9, 3:7, 2:5] = 1
    found[6:8, 4:6, 3] = 4
    return found


def read_back(path: Path) -> tuple[np.ndarray, np.ndarray, Any]:
    """Label values (x, y, z), the affine to RAS, and the document."""
    import highdicom

    document = highdicom.seg.segread(path)
    volume = document.get_volume(combine_segments=True, rescale_fractional=False)
    values: np.ndarray = np.zeros(256, np.uint8)
    for number in document.segment_numbers:
        values[number] = int(document.get_segment_description(number).tracking_id)
    affine = np.eye(4)
    affine[:, [2, 1, 0, 3]] = volume.affine  # its array runs along slices, rows, columns
    return values[volume.array.astype(int)].T, LPS @ affine, document


def test_a_dicom_seg_has_the_grid_of_the_nifti_segmentation(tmp_path: Path) -> None:
    """Read back by highdicom: the same labels at the same places, and the names of the segments."""
    write_series(tmp_path / "ct", scan())
    labels = some_labels()
    write_dicom_seg(tmp_path / "seg.dcm", labels, tmp_path / "ct", NAMES, "abc")
    write_segmentation(tmp_path / "seg.nii.gz", labels, tmp_path / "ct")
    found, affine, document = read_back(tmp_path / "seg.dcm")
    expected = nibabel.load(tmp_path / "seg.nii.gz")
    np.testing.assert_allclose(expected.affine, AFFINE, atol=1e-4)
    # highdicom turns slices around and leaves out those without a label: compared in mm.
    whole: np.ndarray = np.zeros(labels.shape, np.uint8)
    voxels = np.argwhere(found)
    places = np.c_[voxels, np.ones(len(voxels))] @ (np.linalg.inv(expected.affine) @ affine).T
    np.testing.assert_allclose(places, np.rint(places), atol=1e-3)
    whole[tuple(np.rint(places[:, :3]).astype(int).T)] = found[tuple(voxels.T)]
    np.testing.assert_array_equal(whole, np.asarray(expected.dataobj))
    segments = [document.get_segment_description(n) for n in document.segment_numbers]
    assert [segment.segment_label for segment in segments] == ["edema", "enhancing tumour"]
    assert document.PatientID == "P1" and document.ContentDescription == "by run abc"
    assert document.FrameOfReferenceUID == "1.2.826.0.1.3680043.8.498.2"


def test_a_segmentation_without_a_label_is_written(tmp_path: Path) -> None:
    """Nothing found is a result, too."""
    write_series(tmp_path / "ct", scan())
    write_dicom_seg(tmp_path / "seg.dcm", some_labels() * 0, tmp_path / "ct", NAMES, "abc")
    found, _, document = read_back(tmp_path / "seg.dcm")
    assert not found.any() and document.number_of_segments == 2


def test_a_series_that_lacks_what_dicom_needs(tmp_path: Path) -> None:
    """One line; no half of a file."""
    import pydicom

    for file in write_series(tmp_path / "ct", scan()):
        one = pydicom.dcmread(file)
        del one.StudyInstanceUID
        one.save_as(file)
    with pytest.raises(DataError, match="ct: does not allow a DICOM-SEG"):
        write_dicom_seg(tmp_path / "seg.dcm", some_labels(), tmp_path / "ct", NAMES, "abc")
    assert [path.name for path in tmp_path.iterdir()] == ["ct"]


def test_series_are_scans(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """A folder, several for the sequences of a case, or a folder of folders."""
    for name in ("a_0000", "a_0001", "b"):
        write_series(tmp_path / "all" / name, scan(), modality="MR")
    one = str(tmp_path / "all" / "b")
    assert find_scans(one, 1) == [Scan("b", (tmp_path / "all" / "b",))]
    assert [s.name for s in find_scans(str(tmp_path / "all"), 2)] == ["a", "b"]
    assert len(find_scans(f"{one},{tmp_path}/all/a_0000", 2)[0].files) == 2
    data = DataConfig(name="x", root="x", normalize=["ct"])
    prepare_scan(find_scans(one, 1)[0], data, ("CT",))
    assert "b: its modality is MR, but the network takes its values as Hounsfield" in caplog.text
    (tmp_path / "empty").mkdir()
    with pytest.raises(DataError, match="contains no .nii.gz or .nii file, and no DICOM series"):
        find_scans(str(tmp_path / "empty"), 1)
    nifti = tmp_path / "x.nii.gz"
    nibabel.save(nibabel.Nifti1Image(scan(), AFFINE), nifti)
    with pytest.raises(ConfigError, match="format: dicom_seg is not possible for .*x.nii.gz; it"):
        check_format("dicom_seg", find_scans(str(nifti), 1))


def test_a_series_is_segmented_as_its_nifti_file(tmp_path: Path) -> None:
    """By a network of four sequences; and shown beside its segmentation."""
    run_training(small_config(tmp_path, "model.filters=2", "model.depth=1"))
    (run,) = (tmp_path / "runs").iterdir()
    series, files = [], []
    for index in range(4):
        voxels = scan(index)
        write_series(tmp_path / "dicom" / f"s_{index:04d}", voxels, modality="MR")
        series.append(str(tmp_path / "dicom" / f"s_{index:04d}"))
        files.append(str(tmp_path / f"s_{index:04d}.nii.gz"))
        nibabel.save(nibabel.Nifti1Image(voxels, AFFINE), files[-1])
    base = {"run": run.name, "output_dir": str(tmp_path), "overlap": 0.0}
    for given, output, kind in (
        (",".join(files), "nifti.nii.gz", "nifti"),
        (",".join(series), "dicom.nii.gz", "nifti"),
        (str(tmp_path / "dicom"), "segs", "dicom_seg"),
    ):
        settings = PredictConfig(input=given, output=str(tmp_path / output), format=kind, **base)  # type: ignore[arg-type]
        predict(settings, ensemble_of([run.name], str(tmp_path)))
    expected = nibabel.load(tmp_path / "nifti.nii.gz")
    found = nibabel.load(tmp_path / "dicom.nii.gz")
    np.testing.assert_array_equal(found.dataobj, expected.dataobj)
    np.testing.assert_allclose(found.affine, expected.affine, atol=1e-4)
    again = read_back(tmp_path / "segs" / "s.dcm")[0]
    assert np.count_nonzero(again) == np.count_nonzero(expected.dataobj)
    with pytest.raises(ConfigError, match="seg.dcm does not fit format=nifti; type"):
        settings = PredictConfig(input=series[0], output=str(tmp_path / "seg.dcm"), **base)  # type: ignore[arg-type]
        predict(settings, ensemble_of([run.name], str(tmp_path)))
    folder = view(ViewConfig(image=series[0], pred=str(tmp_path / "dicom.nii.gz")))
    assert (folder / "view.html").is_file()
