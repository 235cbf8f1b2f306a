from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.layout_folders import write_folders, write_table
from unet3d.datasets.table import read_table
from unet3d.errors import DataError

LABELS = {1: "edema", 2: "core"}


def test_reads_a_table(tmp_path: Path) -> None:
    """A column a sequence; split, fold and group of each case; paths from the table's folder."""
    columns = {"split": ["train", "test", "val"], "fold": [0, 1, ""], "group": ["p1", "p1", "p2"]}
    columns["weight"] = ["2.5", "", 0]
    dataset = read_table(write_table(tmp_path, **columns), LABELS)
    assert dataset.channels == ("flair", "t1") and dataset.labels == LABELS
    first, second, third = dataset.cases
    assert (first.id, first.group, first.part, first.fold) == ("case_0", "p1", "train", 0)
    assert (second.part, second.fold, third.part, third.fold) == ("test", 1, "val", None)
    assert (first.weight, second.weight, third.weight) == (2.5, 1, 0)
    assert all(path.is_file() for case in dataset.cases for path in dataset.images(case))


def test_chosen_columns(tmp_path: Path) -> None:
    """data.channels takes some of them in an order of its own, data.label another column."""
    path = write_table(tmp_path)
    path.write_text(path.read_text().replace("label", "truth", 1))
    dataset = read_table(path, LABELS, ["t1"], "truth")
    assert dataset.channels == ("t1",)
    assert Path(dataset.cases[0].images[0]).name == "case_0-t1.nii.gz"


def test_reads_a_datalist(tmp_path: Path) -> None:
    """MONAI's: lists of images, validation cases apart, folds; scans without a label left out."""
    write_folders(tmp_path)
    entries = [
        {
            "image": [f"case_{i}/case_{i}-{kind}.nii.gz" for kind in ("flair", "t1")],
            "label": f"case_{i}/case_{i}-seg.nii.gz",
            "fold": i,
        }
        for i in range(3)
    ]
    content = {"training": entries[:2], "validation": entries[2:], "test": [{"image": "x.nii"}]}
    path = tmp_path / "datalist.json"
    path.write_text(json.dumps(content))
    dataset = read_table(path, LABELS)
    assert dataset.channels == ("sequence_0", "sequence_1")
    assert [(case.id, case.part, case.fold) for case in dataset.cases] == [
        ("case_0", "train", 0),
        ("case_1", "train", 1),
        ("case_2", "val", 2),
    ]


def test_label_values_must_be_named(tmp_path: Path) -> None:
    """Without data.labels the error has the values that are in the first files."""
    with pytest.raises(DataError, match=r"data.labels=\{1:label_1,2:label_2\}"):
        read_table(write_table(tmp_path), None)


@pytest.mark.parametrize(
    ("before", "after", "message"),
    [
        ("label\n", "truth\n", "has no column 'label', but case, flair, t1, truth"),
        ("flair,t1", "t1,t1", "two columns 't1'"),
        ("files/case_1/case_1-t1.nii.gz", "notes.txt", "line 3 has 'notes.txt' in place of an"),
        (",files/case_1/case_1-t1.nii.gz", "", "line 3 has another number of columns"),
        ("case_1,", "case_0,", "two cases are called case_0"),
    ],
)
def test_a_wrong_table_is_one_clear_error(
    tmp_path: Path, before: str, after: str, message: str
) -> None:
    """With the file and the line."""
    path = write_table(tmp_path)
    path.write_text(path.read_text().replace(before, after, 1))
    with pytest.raises(DataError, match=message) as caught:
        read_table(path, LABELS)
    assert "cases.csv" in str(caught.value)


@pytest.mark.parametrize(
    ("column", "values", "message"),
    [
        ("split", ["train", "holdout", "val"], "line 3 has split 'holdout'; it must be train, val"),
        ("fold", ["0", "-1", "1"], "line 3 has fold '-1'; it must be 0, 1, 2"),
        ("weight", ["1", "-1", "1"], "line 3 has weight '-1'; it must be a number of 0 or more"),
    ],
)
def test_wrong_facts_are_one_clear_error(
    tmp_path: Path, column: str, values: list[str], message: str
) -> None:
    """A part or a fold that there is not."""
    with pytest.raises(DataError, match=message):
        read_table(write_table(tmp_path, **{column: values}), LABELS)


@pytest.mark.parametrize("name", ["missing.csv", "missing.json", "cases.xlsx"])
def test_no_table(tmp_path: Path, name: str) -> None:
    """A list that does not exist, or has another format, is named."""
    with pytest.raises(DataError, match=name):
        read_table(tmp_path / name, LABELS)


def test_what_is_not_a_table_is_named(tmp_path: Path) -> None:
    """The folder of the list, another separator, and an empty file: what to type, not a riddle."""
    path = write_table(tmp_path, cases=1)
    with pytest.raises(DataError, match=f"this is a folder; type data.root={path}"):
        read_table(tmp_path, LABELS)
    path.write_text(path.read_text().replace(",", ";"))
    with pytest.raises(DataError, match="separated by ';'; a .csv needs ','"):
        read_table(path, LABELS)
    path.write_text("")
    with pytest.raises(DataError, match="an empty file"):
        read_table(path, LABELS)


def test_one_scan_under_two_names_is_an_error(tmp_path: Path) -> None:
    """It could be trained on and tested; the same image with another label is a second reading."""
    path = write_table(tmp_path)
    lines = path.read_text().splitlines()
    copied = lines[1].replace("case_0,", "again,", 1)
    path.write_text("\n".join([*lines, copied]))
    with pytest.raises(DataError, match="cases again and case_0 have the same files"):
        read_table(path, LABELS)
    path.write_text("\n".join([*lines, copied.replace("case_0-seg", "second-seg")]))
    assert len(read_table(path, LABELS).cases) == 4
