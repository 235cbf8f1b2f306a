"""Scans and data sets that are broken, hostile or only unusual: refused in one line, or taken."""

from __future__ import annotations

import gzip
import json
import logging
import os
import shutil
import struct
import tracemalloc
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import nibabel
import numpy as np
import pytest

from tests.nifti_files import LPS, config, save, volumes, write_dataset
from unet3d.config.schema import AugmentConfig, ViewConfig
from unet3d.datasets import nifti
from unet3d.datasets.decathlon import read_decathlon
from unet3d.datasets.label_files import label_files, read_labels
from unet3d.datasets.nifti import read_header, read_voxels
from unet3d.errors import DataError
from unet3d.evaluation.score import Pair, score
from unet3d.inference.scan import Scan, prepare_scan
from unet3d.preprocessing.preprocess import preprocess
from unet3d.preprocessing.store import MARKER, open_store
from unet3d.sampling.patches import make_stream
from unet3d.viewer.case import read_case

NAMES = ("sequence 0", "sequence 1")


def nifti_bytes(voxels: np.ndarray | None = None, **fields: Any) -> bytes:
    """A NIfTI-1 file of int16 voxels with changed header fields."""
    image = nibabel.Nifti1Image(volumes(0, 1)[0] if voxels is None else voxels, LPS)
    content = bytearray(image.to_bytes())
    header = nibabel.Nifti1Header(bytes(content[:348]), check=False)
    for key, value in fields.items():
        header[key] = value
    content[:348] = header.binaryblock
    return bytes(content)


def nifti2_bytes(shape: tuple[int, ...]) -> bytes:
    """A NIfTI-2 file whose header names a shape, with 1000 bytes of voxels."""
    content = bytearray(nibabel.Nifti2Image(np.zeros((4, 4, 4), np.int16), LPS).to_bytes())
    content[16:80] = struct.pack("<8q", len(shape), *shape, *[1] * (7 - len(shape)))
    return bytes(content) + bytes(1000)


def test_healthy_cases_train_as_background(tmp_path, caplog):
    """An empty label is no fault: one line names the cases; their patches come from anywhere."""
    root = write_dataset(tmp_path / "raw", cases=4)
    for case in (1, 3):
        save(root / "labelsTr" / f"case_{case}.nii.gz", np.zeros((12, 14, 10), np.uint8))
    data = config(tmp_path, patch=[4, 4, 4], foreground=1.0)
    store = preprocess(data)
    lines = [line for line in caplog.messages if "empty label" in line]
    assert len(lines) == 1 and "2 of 4 cases" in lines[0] and "case_1, case_3" in lines[0]
    assert store.cases["case_1"].labels == () and open_store(store.path) == store
    stream = make_stream(
        store,
        ["case_1"],
        data,
        AugmentConfig(),
        batch_size=1,
        steps_per_epoch=2,
        seed=0,
        stride=(4, 4, 4),
    )
    image, label = stream.sample(0, 0)
    assert image.shape == (4, 4, 4, 2) and not label.any()


def test_labels_that_are_all_empty_are_refused(tmp_path):
    """A data set without one labelled voxel is a mistake, not a healthy population."""
    root = write_dataset(tmp_path / "raw", cases=2)
    for case in (0, 1):
        save(root / "labelsTr" / f"case_{case}.nii.gz", np.zeros((12, 14, 10), np.uint8))
    with pytest.raises(DataError, match="no label file has a foreground voxel, in 2 cases"):
        preprocess(config(tmp_path))


@pytest.mark.parametrize("off", [0.0, 9e-4, -9e-4, 0.01, np.nan])
def test_training_and_evaluation_take_the_same_labels(tmp_path, off):
    """Whole within 1e-3, for both; anything else is one line with the value."""
    root = write_dataset(tmp_path / "raw", cases=2)
    label = volumes(0)[1]
    path = root / "labelsTr" / "case_0.nii.gz"
    save(path, (label + off * (label == 2)).astype(np.float32))
    if abs(off) < 1e-3:
        np.testing.assert_array_equal(read_labels(path)[0], label)
        assert preprocess(config(tmp_path)).cases["case_0"].labels == (1, 2)
        return
    for take in (lambda: read_labels(path), lambda: preprocess(config(tmp_path))):
        with pytest.raises(DataError, match="case_0.nii.gz: label value .* is not a whole number"):
            take()


MOVED = LPS + np.array([[0, 0, 0, 0.02], [0, 0, 0, 0.02], [0, 0, 0, 0], [0, 0, 0, 0]])
TURNED = LPS @ np.array([[1, 0.009, 0, 0], [-0.009, 1, 0, 0], [0, 0, 1, 0], [0, 0, 0, 1]])


def test_a_label_may_lie_a_part_of_a_voxel_away(tmp_path):
    """0.02 mm is nothing to a voxel of 1 mm."""
    root = write_dataset(tmp_path / "raw", cases=2)
    save(root / "labelsTr" / "case_0.nii.gz", volumes(0)[1], MOVED)
    assert len(preprocess(config(tmp_path)).cases) == 2


@pytest.mark.parametrize("affine", [np.eye(4), LPS + np.eye(4) * 0.5])
def test_another_geometry_is_taken_on_request(tmp_path, affine):
    """Refused with what to type; data.geometry=image trains, predicts, evaluates and shows it."""
    root = write_dataset(tmp_path / "raw", cases=2)
    image, label = root / "imagesTr" / "case_0.nii.gz", root / "labelsTr" / "case_0.nii.gz"
    expected = preprocess(config(tmp_path)).label("case_0")
    save(label, volumes(0)[1], affine)
    with pytest.raises(DataError, match="by up to .* voxels; data.geometry=image takes"):
        preprocess(config(tmp_path))
    data = config(tmp_path, geometry="image")
    np.testing.assert_array_equal(preprocess(data).label("case_0"), expected)
    prediction = tmp_path / "seg.nii.gz"
    save(prediction, volumes(0)[1])
    pair = Pair("case_0", label, prediction, {"core": [2]}, 1.0)
    with pytest.raises(DataError, match="geometry=image"):
        score(pair)
    ((_, _, metrics),) = score(replace(pair, geometry="image"))
    assert metrics["dice"] == 1
    shown = ViewConfig(image=str(image), pred=str(prediction), truth=str(label), geometry="image")
    assert read_case(shown).spacing == (1, 1, 2)


def test_a_turn_that_moves_the_far_corner_is_seen(tmp_path):
    """Small entries of an affine are large distances in a large volume."""
    wide = np.zeros((120, 120, 4), np.int16)
    wide[10:100, 10:100, 1:3] = 5
    root = write_dataset(tmp_path / "raw", cases=1, channels=1)
    save(root / "imagesTr" / "case_0.nii.gz", wide)
    save(root / "labelsTr" / "case_0.nii.gz", (wide > 0).astype(np.uint8), TURNED)
    with pytest.raises(DataError, match="by up to 1.0.* voxels"):
        preprocess(config(tmp_path))


def test_cases_may_be_symbolic_links(tmp_path):
    """As in a data set put together from another disk; their owner made them."""
    root = write_dataset(tmp_path / "raw", cases=2)
    shutil.move(root / "imagesTr" / "case_0.nii.gz", tmp_path / "elsewhere.nii.gz")
    (root / "imagesTr" / "case_0.nii.gz").symlink_to(tmp_path / "elsewhere.nii.gz")
    assert len(preprocess(config(tmp_path)).cases) == 2


@pytest.mark.parametrize("size", [1e-3, 1e-6, 40.0])
def test_what_training_takes_predict_takes(tmp_path, caplog, size):
    """Voxels in metres or of 40 mm: one warning for all files, by both."""
    affine = np.diag([size, size, size, 1])
    nifti._Reports.seen.clear()
    root = write_dataset(tmp_path / "raw", cases=3)
    for path in root.glob("*Tr/*.nii.gz"):
        image = nibabel.load(path)
        save(path, np.asarray(image.dataobj), affine)
    data = config(tmp_path)
    store = preprocess(data)
    lines = [line for line in caplog.messages if "are they in other units?" in line]
    assert len(lines) == 1 and f"{size:g} x" in lines[0]
    scan = Scan("a", (root / "imagesTr" / "case_0.nii.gz",))
    prepared = prepare_scan(scan, data, NAMES)
    np.testing.assert_array_equal(prepared.image, store.image("case_0"))
    assert prepared.spacing == pytest.approx((size, size, size))


def test_wrong_units_do_not_fill_the_memory(tmp_path):
    """Resampling metres that are taken for mm is refused before memory is asked for."""
    root = write_dataset(tmp_path / "raw", cases=2)
    for path in root.glob("*Tr/*.nii.gz"):
        save(path, np.asarray(nibabel.load(path).dataobj), np.diag([1e4, 1e4, 1e4, 1]))
    with pytest.raises(DataError, match="case_0.nii.gz: needs .* GB of memory"):
        preprocess(config(tmp_path, spacing=[1.0, 1.0, 1.0]))
    with pytest.raises(DataError, match="needs .* GB of memory"):
        preprocess(config(tmp_path, spacing=[1e-320, 1.0, 1.0]))


LFS = b"version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 9\n"


def _gz(content: bytes) -> bytes:
    """gzip without the time of day, which would stand in the test's name."""
    return gzip.compress(content, mtime=0)


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("a.nii.gz", b"", "an empty file"),
        ("a.nii", b"", "an empty file"),
        ("a.nii.gz", LFS, "text pointer of git-lfs; run: git lfs pull"),
        ("a.nii", LFS, "text pointer of git-lfs; run: git lfs pull"),
        ("a.nii.gz", nifti_bytes(), "not compressed, though its name says so; rename it to a.nii"),
        ("a.nii", _gz(nifti_bytes()), "gzip-compressed, though not named so"),
        ("a.nii.gz", b"<!DOCTYPE html><html>", "a web page"),
        ("a.nii.gz", bytes(4096), "holds only zeros"),
        ("a.nii", bytes(128) + b"DICM" + bytes(400), "a DICOM file"),
        ("a.nii", b"NRRD0004\n" + bytes(400), "an NRRD file"),
        ("a.nii.gz", _gz(b"not a volume"), "not a NIfTI file"),
        ("a.nii", nifti_bytes()[:200], "unreadable header"),
        ("a.nii", nifti_bytes(srow_x=0, srow_y=0, srow_z=0), "its sform is all zeros"),
        ("a.nii", nifti_bytes(srow_x=np.nan), "its sform cannot be inverted"),
        ("a.nii", nifti_bytes(magic=b"ni1"), "a header without voxels"),
        ("a.nii", nifti_bytes(vox_offset=np.inf), "unreadable header"),
        ("a.nii", nifti_bytes(vox_offset=1e30), "cannot hold"),
        ("a.nii", nifti_bytes(dim=[3, 32767, 32767, 32767, 1, 1, 1, 1]), "cannot hold"),
        ("a.nii", nifti_bytes(dim=[3, -5, 4, 4, 1, 1, 1, 1]), "a.nii: "),
        ("a.nii", nifti2_bytes((2**31, 2**31, 8)), "cannot hold"),
        ("a.nii", nifti2_bytes((2**62, 4, 1)), "cannot hold"),
        ("a.nii.gz", _gz(nifti2_bytes((2**31, 2**31, 8))), "cannot hold"),
    ],
)
def test_what_a_file_is_stands_in_the_message(tmp_path, name, content, message):
    """One line with the file, what it is and what to do."""
    path = tmp_path / name
    path.write_bytes(content)
    with pytest.raises(DataError) as caught:
        read_voxels(path)
    assert message in str(caught.value) and str(caught.value).startswith(f"{path}: ")
    assert "\n" not in str(caught.value)


def test_what_is_no_file_is_not_read(tmp_path):
    """A folder, a device without an end, a pipe without a writer, a link to nothing."""
    (tmp_path / "folder.nii").mkdir()
    (tmp_path / "zero.nii").symlink_to("/dev/zero")
    os.mkfifo(tmp_path / "pipe.nii")
    (tmp_path / "link.nii").symlink_to("nowhere")
    for name, message in (
        ("folder", "a folder"),
        ("zero", "a device"),
        ("pipe", "a device"),
        ("link", "a symbolic link to nowhere, which does not exist"),
        ("nul\0", "null"),
    ):
        for read in (read_header, read_voxels):
            with pytest.raises(DataError, match=message):
                read(tmp_path / f"{name}.nii")


@pytest.mark.parametrize("members", [1, 3])
def test_a_gzip_bomb_stays_in_the_file(tmp_path, members):
    """Nothing beyond what the header says is kept; far more than that is refused."""
    path = tmp_path / "bomb.nii.gz"
    zeros = gzip.compress(bytes(150_000_000 // members), 1)
    path.write_bytes(gzip.compress(nifti_bytes()) + zeros * members)
    tracemalloc.start()
    try:
        with pytest.raises(DataError, match="unpacks to far more than its header's"):
            read_voxels(path)
        assert tracemalloc.get_traced_memory()[1] < 8_000_000
    finally:
        tracemalloc.stop()


def test_more_than_the_memory_is_refused(tmp_path, monkeypatch):
    """A header that asks for more than the machine has is one line, not a killed process."""
    monkeypatch.setattr(nifti, "machine_memory", lambda: 2e6)
    path = tmp_path / "large.nii.gz"
    save(path, np.zeros((128, 128, 128), np.int16))
    with pytest.raises(DataError, match="large.nii.gz: needs .* GB of memory"):
        read_voxels(path)


def test_gz_in_parts_and_with_padding(tmp_path):
    """Members one after another, as bgzip writes, and zeros behind are read; damage is not."""
    content, expected = nifti_bytes(), volumes(0, 1)[0]
    path = tmp_path / "a.nii.gz"
    parts = gzip.compress(content[:500]) + gzip.compress(content[500:])
    for found in (parts, parts + bytes(100), gzip.compress(content) + bytes(100)):
        path.write_bytes(found)
        np.testing.assert_array_equal(read_voxels(path)[0], expected)
    wrong_checksum = bytearray(gzip.compress(content))
    wrong_checksum[-6] ^= 1
    for damaged in (wrong_checksum, parts + b"tail", parts[:-1]):
        path.write_bytes(damaged)
        with pytest.raises(DataError, match="truncated or damaged .gz"):
            read_voxels(path)


def test_equal_warnings_are_one(tmp_path, caplog, capfd):
    """nibabel's remarks on a header come once for all files, as a line of the program."""
    nifti._Reports.seen.clear()
    paths = [tmp_path / f"{index}.nii" for index in range(18)]
    for path in paths:
        path.write_bytes(nifti_bytes(pixdim=[0, 0, 1, 2, 1, 1, 1, 1], sform_code=0, qform_code=1))
        read_header(path)
    lines = [line for line in caplog.messages if "pixdim[1,2,3]" in line]
    assert len(lines) == 1 and "0.nii" in lines[0]
    assert "pixdim" not in capfd.readouterr().err


def _nnunet(root: Path) -> None:
    (root / "imagesTr").mkdir()
    (root / "imagesTr" / "a_0000.nii.gz").touch()


def _nnunet_json(root: Path) -> None:
    _nnunet(root)
    described = {"channel_names": {"0": "T1"}, "labels": {"background": 0, "tumour": 1}}
    (root / "dataset.json").write_text(json.dumps(described))


def _case_folders(root: Path) -> None:
    (root / "BraTS_001").mkdir()
    (root / "BraTS_001" / "BraTS_001_flair.nii.gz").touch()
    (root / "BraTS_001" / "BraTS_001_seg.nii.gz").touch()


def _bids(root: Path) -> None:
    (root / "sub-01" / "anat").mkdir(parents=True)


def _dicom(root: Path) -> None:
    (root / "series").mkdir()
    (root / "series" / "IM0001").write_bytes(bytes(128) + b"DICM")


def _one_below(root: Path) -> None:
    write_dataset(root / "Task01", cases=1)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (_nnunet, "nnU-Net's layout"),
        (_nnunet_json, "lacks the key 'modality'; this is nnU-Net's layout; type data=nnunet"),
        (_case_folders, "a folder for each case; type data=folders"),
        (_bids, "BIDS"),
        (_dicom, "DICOM files"),
        (_one_below, "Task01; type data.root="),
        (lambda root: (root / "a.nii.gz").touch(), "these are images, without a list"),
        (lambda root: (root / "a.mgz").touch(), "another format"),
        (lambda root: (root / "a.zip").touch(), "an archive"),
        (lambda root: None, "empty folder"),
        (lambda root: root.rmdir(), "no such folder"),
    ],
)
def test_a_folder_is_named_for_its_layout(
    tmp_path: Path, make: Callable[[Path], Any], message: str
) -> None:
    """Not only that dataset.json is missing, but what there is instead."""
    root = tmp_path / "data"
    root.mkdir()
    make(root)
    with pytest.raises(DataError, match=message) as caught:
        read_decathlon(root)
    assert "dataset.json" in str(caught.value) and "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ('"imagesTr/a\\u0000.nii.gz"', "is not the path of a file"),
        ('"imagesTr/\\ud800.nii.gz"', "is not the path of a file"),
        ('["imagesTr/a.nii.gz"]', "is not the path of a file"),
        ("7", "is not the path of a file"),
        ('"../a.nii.gz"', None),
        ("[" * 100_000, "nested too deeply"),
        ('"' + "x" * 100_000 + '"', "is not the name of a .nii.gz"),
    ],
)
def test_paths_of_dataset_json(tmp_path, change, message):
    """NUL bytes, half characters, lists and endless nesting are one short line."""
    text = '{"modality": {"0": "T1"}, "labels": {"1": "x"}, "training": [{"image": '
    text += change + ', "label": "l.nii.gz"}]}'
    (tmp_path / "dataset.json").write_text(text)
    if message is None:
        dataset = read_decathlon(tmp_path)
        with pytest.raises(DataError, match="outside the data set's folder"):
            dataset.file(dataset.cases[0].images[0])
        return
    with pytest.raises(DataError, match=message) as caught:
        read_decathlon(tmp_path)
    assert len(str(caught.value)) < 400 and "\n" not in str(caught.value)


@pytest.mark.parametrize("labels", ['{"1": "a", "1": "b"}', '{"1": "a", "01": "b"}'])
def test_a_label_that_is_named_twice_is_not_dropped(tmp_path, labels):
    """Two keys that are one number, or one key twice, are refused."""
    (tmp_path / "dataset.json").write_text(
        '{"modality": {"0": "T1"}, "training": [{"image": "a.nii", "label": "b.nii"}], '
        f'"labels": {labels}}}'
    )
    with pytest.raises(DataError, match="twice"):
        read_decathlon(tmp_path)


def test_two_files_of_one_name_are_refused(tmp_path):
    """a.nii and a.nii.gz would be one case, and one of them lost."""
    for name in ("a.nii", "a.nii.gz"):
        save(tmp_path / name, volumes(0)[1])
    with pytest.raises(DataError, match="of the same case"):
        label_files(tmp_path)


def test_a_store_of_an_earlier_format_is_named(tmp_path, caplog):
    """It is left as it is, and one line says why another is built."""
    caplog.set_level(logging.INFO)
    write_dataset(tmp_path / "raw", cases=2)
    store = preprocess(config(tmp_path))
    older = store.path.with_name("tiny-0123456789abcdef")
    store.path.rename(older)
    marker = json.loads((older / MARKER).read_text())
    (older / MARKER).write_text(json.dumps({**marker, "format": 2}))
    caplog.clear()
    preprocess(config(tmp_path))
    (line,) = [line for line in caplog.messages if "earlier format" in line]
    assert "the background is now what surrounds the body" in line and older.is_dir()
