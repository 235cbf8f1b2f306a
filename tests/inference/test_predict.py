"""From a scan to a segmentation: windows, geometry, and what is refused."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path

import nibabel
import numpy as np
import pytest

from tests.layout_folders import write_folders
from unet3d.config.schema import DataConfig, PredictConfig
from unet3d.datasets.volumes import read_voxels
from unet3d.errors import ConfigError, DataError
from unet3d.inference.network import mean_over_flips
from unet3d.inference.predict import _outputs
from unet3d.inference.scan import Scan, find_scans, prepare_scan, write_segmentation
from unet3d.inference.sliding_window import sliding_window


def data(**changes: object) -> DataConfig:
    return DataConfig(name="x", root="x", **changes)  # type: ignore[arg-type]


def write(path: Path, voxels: np.ndarray, affine: np.ndarray | None = None) -> Path:
    nibabel.save(nibabel.Nifti1Image(voxels, np.eye(4) if affine is None else affine), path)
    return path


def test_empty_windows_are_not_predicted() -> None:
    """They get the logits of background; what the others give is as without."""
    image = np.zeros((32, 16, 16, 1), np.float32)
    image[20:30, 4:12, 4:12] = 1
    calls: list[int] = []

    def predict(batch: np.ndarray) -> np.ndarray:
        calls.append(1)
        return batch * 5 - 1

    settings = {"outputs": 1, "overlap": 0.0}
    plain = sliding_window(predict, image, (8, 8, 8), **settings)  # type: ignore[arg-type]
    every = len(calls)
    calls.clear()
    empty = np.array([-10.0], np.float32)
    skipped = sliding_window(predict, image, (8, 8, 8), empty=empty, **settings)  # type: ignore[arg-type]
    assert len(calls) < every
    np.testing.assert_array_equal(skipped > 0, plain > 0)
    np.testing.assert_allclose(skipped[:16], -10, rtol=1e-6)


def test_flips_are_turned_back() -> None:
    """The mean over flips of a network that does nothing is what goes in."""
    batch = np.random.default_rng(0).normal(size=(2, 4, 5, 6, 1)).astype(np.float32)
    np.testing.assert_allclose(mean_over_flips(lambda x: x)(batch), batch, rtol=1e-6)

    def first_half(x: np.ndarray) -> np.ndarray:
        return x * (np.arange(4) < 2).reshape(1, 4, 1, 1, 1)

    np.testing.assert_allclose(mean_over_flips(first_half)(batch), batch / 2, rtol=1e-6)


def test_a_segmentation_has_the_grid_of_its_scan(tmp_path: Path) -> None:
    """Affine, codes and units are the scan's, the type is uint8, and no part is left over."""
    affine = np.array([[0, -2.0, 0, 5], [1.5, 0, 0, -7], [0, 0, 3.0, 1], [0, 0, 0, 1]])
    image = nibabel.Nifti1Image(np.zeros((4, 5, 6, 2), np.float32), affine)
    image.header.set_xyzt_units("mm", "sec")
    image.set_sform(affine, 1)
    nibabel.save(image, tmp_path / "scan.nii.gz")
    labels = np.random.default_rng(0).integers(0, 4, (4, 5, 6), dtype=np.uint8)
    write_segmentation(tmp_path / "out" / "seg.nii.gz", labels, tmp_path / "scan.nii.gz")
    written = nibabel.load(tmp_path / "out" / "seg.nii.gz")
    np.testing.assert_array_equal(np.asarray(written.dataobj), labels)
    np.testing.assert_array_equal(written.affine, nibabel.load(tmp_path / "scan.nii.gz").affine)
    assert written.get_data_dtype() == np.uint8
    assert written.header["sform_code"] == 1
    assert written.header.get_xyzt_units()[0] == "mm"
    assert [path.name for path in (tmp_path / "out").iterdir()] == ["seg.nii.gz"]


def test_scans_of_a_folder(tmp_path: Path) -> None:
    """Each file is a case; names in _0000, _0001 are the sequences of one."""
    voxels = np.ones((4, 4, 4), np.float32)
    for name in ("a_0000", "a_0001", "b_0000", "b_0001", "c"):
        write(tmp_path / f"{name}.nii.gz", voxels)
    (tmp_path / "notes.txt").write_text("x")
    scans = find_scans(str(tmp_path), 2)
    assert [(scan.name, len(scan.files)) for scan in scans] == [("a", 2), ("b", 2), ("c", 1)]
    one, two = tmp_path / "a_0000.nii.gz", tmp_path / "a_0001.nii.gz"
    assert find_scans(f"{one},{two}", 2)[0].files == (one, two)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda f: write(f / "s.nii.gz", np.ones((8, 8, 8, 3), np.float32)), "3 sequences, but"),
        (lambda f: write(f / "s.nii.gz", np.ones((8, 8, 1), np.float32)), "is that of a slice"),
        (lambda f: (f / "s.nii.gz").write_bytes(b"no gzip"), "s.nii.gz: "),
        (lambda f: write(f / "s.nii.gz", np.zeros((8, 8, 8, 2), np.float32)), "empty: every voxel"),
    ],
    ids=["sequences", "2D", "damaged", "empty"],
)
def test_bad_scans_are_named(tmp_path: Path, make: Callable[[Path], object], message: str) -> None:
    """One line with the file and what is wrong."""
    make(tmp_path)
    with pytest.raises(DataError, match=message) as error:
        prepare_scan(Scan("s", (tmp_path / "s.nii.gz",)), data(), ("T1", "T2"))
    assert "s.nii.gz" in str(error.value)


def test_sequences_of_two_grids_are_refused(tmp_path: Path) -> None:
    """Files of one case must lie on each other."""
    one = write(tmp_path / "a.nii.gz", np.ones((8, 8, 8), np.float32))
    two = write(tmp_path / "b.nii.gz", np.ones((8, 8, 8), np.float32), np.diag([2.0, 1, 1, 1]))
    with pytest.raises(DataError, match="b.nii.gz: its affine differs from that of"):
        prepare_scan(Scan("s", (one, two)), data(), ("T1", "T2"))


def test_outputs_that_do_not_fit_are_refused(tmp_path: Path) -> None:
    """Before any network is loaded; the scan itself is never overwritten."""
    scan = write(tmp_path / "scan.nii.gz", np.ones((4, 4, 4), np.float32))
    for given, output, message in (
        (scan, scan, "is the scan itself"),
        (tmp_path, tmp_path / "x.nii.gz", "name a folder"),
        (scan, "/proc/nowhere/x.nii.gz", "cannot be written to"),
    ):
        settings = PredictConfig(run="a", input=str(given), output=str(output))
        with pytest.raises(ConfigError, match=message):
            _outputs(settings, find_scans(settings.input, 1))


@pytest.mark.parametrize("ending", [".mha", ".nrrd", ".nhdr"])
def test_a_segmentation_in_the_format_of_its_scan(tmp_path: Path, ending: str) -> None:
    """ITK's formats, where output names one: the scan's grid, uint8, nothing else in the folder."""
    affine = np.array([[0, -2.0, 0, 5], [1.5, 0, 0, -7], [0, 0, 0.005, 1], [0, 0, 0, 1]])
    scan = write(tmp_path / "scan.nii.gz", np.zeros((4, 5, 6), np.int16), affine)
    labels = np.random.default_rng(0).integers(0, 3, (4, 5, 6))
    output = tmp_path / "out" / f"seg{ending}"
    settings = PredictConfig(input=str(scan), output=str(output), run="x")
    assert _outputs(settings, [Scan("scan", (scan,))]) == [output]
    write_segmentation(output, labels, scan)
    voxels, header = read_voxels(output)
    assert voxels.dtype == np.uint8
    np.testing.assert_array_equal(voxels, labels)
    np.testing.assert_allclose(header.affine, affine, atol=1e-6)
    left = {path.suffix for path in output.parent.iterdir()}
    assert left == ({".nhdr", ".gz"} if ending == ".nhdr" else {ending}), left


def test_a_format_that_cannot_be_written_is_said_before_the_work(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Without SimpleITK, which is an extra, one line names it."""
    monkeypatch.setitem(sys.modules, "SimpleITK", None)
    scan = write(tmp_path / "scan.nii.gz", np.zeros((4, 4, 4), np.int16))
    settings = PredictConfig(input=str(scan), output=str(tmp_path / "seg.mha"), run="x")
    with pytest.raises(DataError, match=r"writing .mha files needs SimpleITK; run: pip install"):
        _outputs(settings, [Scan("scan", (scan,))])


def test_nnunets_images_of_one_sequence_are_called_as_their_labels(tmp_path: Path) -> None:
    """case_0000 of a CT is the case `case`; among files of other names it is a name."""
    for name in ("a_0000", "b_0000"):
        write(tmp_path / f"{name}.nii.gz", np.zeros((4, 4, 4), np.int16))
    assert [scan.name for scan in find_scans(str(tmp_path), 1)] == ["a", "b"]
    write(tmp_path / "c_0001.nii.gz", np.zeros((4, 4, 4), np.int16))
    names = [scan.name for scan in find_scans(str(tmp_path), 1)]
    assert names == ["a_0000", "b_0000", "c_0001"]


def test_a_folder_a_case_is_segmented_by_the_pattern_of_the_training(tmp_path: Path) -> None:
    """Sequences in the network's order, labels not needed; a missing file is named when read."""
    write_folders(tmp_path)
    (tmp_path / "case_0" / "case_0-seg.nii.gz").unlink()
    (tmp_path / "case_1" / "case_1-t1.nii.gz").unlink()
    pattern = "{case}/{case}-{channel}.nii.gz"
    scans = find_scans(str(tmp_path), 2, pattern, ("t1", "flair"))
    assert [scan.name for scan in scans] == ["case_0", "case_1", "case_2"]
    files = tuple(tmp_path / "case_0" / f"case_0-{name}.nii.gz" for name in ("t1", "flair"))
    assert scans[0].files == files
    with pytest.raises(DataError, match="case_1-t1.nii.gz: No such file"):
        prepare_scan(scans[1], data(), ("t1", "flair"))
