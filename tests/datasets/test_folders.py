from __future__ import annotations

import re
from pathlib import Path

import pytest

from tests.layout_folders import write_folders
from unet3d.datasets.folders import read_folders
from unet3d.datasets.grids import check_headers
from unet3d.errors import DataError

LABELS = {1: "edema", 2: "core"}
PATTERN = "{case}/{case}-{channel}.nii.gz"


def test_reads_a_folder_a_case(tmp_path: Path) -> None:
    """Sequences in alphabetical order, or as they are named; the label is known by its name."""
    root = write_folders(tmp_path)
    dataset = read_folders(root, PATTERN, LABELS)
    assert dataset.channels == ("flair", "t1")
    assert [case.id for case in dataset.cases] == ["case_0", "case_1", "case_2"]
    assert dataset.cases[0].label == "case_0/case_0-seg.nii.gz"
    chosen = read_folders(root, PATTERN, LABELS, ["t1", "flair"])
    assert chosen.cases[0].images[0] == "case_0/case_0-t1.nii.gz"


def test_reads_bids(tmp_path: Path) -> None:
    """Images below sub-<label>/anat, labels in derivatives; sessions of one subject are a group."""
    write_folders(tmp_path / "raw", cases=2)
    for index in range(2):
        anat = f"sub-01/ses-{index}/anat/sub-01_ses-{index}"
        for kind, name in (("flair", "FLAIR"), ("t1", "T1w")):
            _move(tmp_path, f"raw/case_{index}/case_{index}-{kind}.nii.gz", f"{anat}_{name}.nii.gz")
        label = f"derivatives/manual/{anat}_dseg.nii.gz"
        _move(tmp_path, f"raw/case_{index}/case_{index}-seg.nii.gz", label)
    dataset = read_folders(
        tmp_path,
        "sub-{group}/ses-{case}/anat/sub-{group}_ses-{case}_{channel}.nii.gz",
        LABELS,
        label="derivatives/manual/sub-{group}/ses-{case}/anat/sub-{group}_ses-{case}_dseg.nii.gz",
    )
    assert dataset.channels == ("FLAIR", "T1w")
    assert [case.group for case in dataset.cases] == ["01", "01"]
    for case in dataset.cases:
        check_headers(dataset, case, "strict")


def _move(root: Path, source: str, target: str) -> None:
    (root / target).parent.mkdir(parents=True, exist_ok=True)
    (root / source).rename(root / target)


def test_a_missing_sequence_is_named_with_its_file(tmp_path: Path) -> None:
    """The case stays, so that data.on_bad_case decides what becomes of it."""
    root = write_folders(tmp_path)
    (root / "case_1/case_1-t1.nii.gz").unlink()
    dataset = read_folders(root, PATTERN, LABELS)
    with pytest.raises(DataError, match="case_1-t1.nii.gz: No such file"):
        check_headers(dataset, dataset.cases[1], "strict")


@pytest.mark.parametrize(
    ("pattern", "channels", "label", "message"),
    [
        (None, None, None, "needs data.pattern, such as"),
        ("{channel}.nii.gz", None, None, "must contain {case}"),
        ("{case}/{case}-{channel}", None, None, "end as images do"),
        ("{case}/{case}_{channel}.nii.gz", None, None, "no file that fits data.pattern"),
        (PATTERN, ["t2"], None, "finds no t2; in the place of {channel} there are flair, seg, t1"),
        (PATTERN, None, "truth", "no label among the files .* flair, seg, t1 .* set data.label"),
    ],
)
def test_a_wrong_pattern_is_one_clear_error(
    tmp_path: Path, pattern: str, channels: list[str], label: str, message: str
) -> None:
    """With what is there in its place."""
    root = write_folders(tmp_path)
    with pytest.raises(DataError, match=message.replace("{", r"\{")):
        read_folders(root, pattern, LABELS, channels, label)


def test_sessions_of_one_name_are_cases_of_their_own(tmp_path: Path) -> None:
    """Session 1 of each of two subjects: none is lost, and both are called after the subject."""
    for subject in ("a", "b"):
        write_folders(tmp_path / subject, cases=2)
    dataset = read_folders(tmp_path, "{group}/" + PATTERN, LABELS)
    assert [(case.id, case.group) for case in dataset.cases] == [
        ("a_case_0", "a"),
        ("a_case_1", "a"),
        ("b_case_0", "b"),
        ("b_case_1", "b"),
    ]
    assert dataset.cases[2].label == "b/case_0/case_0-seg.nii.gz"


@pytest.mark.parametrize(
    ("pattern", "message"),
    [
        ("{case}/{case}-{modality}.nii.gz", "has {modality}; the places of a pattern are {case}"),
        ("*/{case}-{channel}.nii.gz", "it is no glob"),
    ],
)
def test_a_pattern_with_something_else_in_it(tmp_path: Path, pattern: str, message: str) -> None:
    with pytest.raises(DataError, match=re.escape(message)):
        read_folders(write_folders(tmp_path, cases=1), pattern, LABELS)
