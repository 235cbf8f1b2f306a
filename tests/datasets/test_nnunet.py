from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from tests.layout_folders import write_nnunet
from tests.nifti_files import write_dataset
from unet3d.datasets.nnunet import SPLITS, read_nnunet
from unet3d.errors import DataError


def test_reads_version_2(tmp_path: Path) -> None:
    """Channels in their order, labels by value, a file for each sequence."""
    dataset = read_nnunet(write_nnunet(tmp_path, cases=2))
    assert dataset.channels == ("flair", "t1")
    assert dataset.labels == {1: "edema", 2: "core"} and dataset.regions is None
    assert [case.id for case in dataset.cases] == ["case_0", "case_1"]
    assert dataset.cases[0].images == (
        "imagesTr/case_0_0000.nii.gz",
        "imagesTr/case_0_0001.nii.gz",
    )
    assert dataset.cases[0].label == "labelsTr/case_0.nii.gz"


def test_reads_version_1(tmp_path: Path) -> None:
    """The Decathlon's description over files that end in _0000; and the Decathlon itself."""
    write_nnunet(tmp_path / "one", cases=1)
    description = {
        "modality": {"0": "flair", "1": "t1"},
        "labels": {"0": "background", "1": "edema", "2": "core"},
        "training": [{"image": "./imagesTr/case_0.nii.gz", "label": "./labelsTr/case_0.nii.gz"}],
    }
    (tmp_path / "one" / "dataset.json").write_text(json.dumps(description))
    (case,) = read_nnunet(tmp_path / "one").cases
    assert case.images == ("./imagesTr/case_0_0000.nii.gz", "./imagesTr/case_0_0001.nii.gz")
    assert len(read_nnunet(write_dataset(tmp_path / "two", cases=2)).cases) == 2


def test_regions_and_the_ignored_label(tmp_path: Path) -> None:
    """Lists of values are regions; regions_class_order names the label of each region alone."""
    dataset = read_nnunet(
        write_nnunet(
            tmp_path,
            labels={"background": 0, "whole": [1, 2], "core": [2], "ignore": 3},
            regions_class_order=[1, 2],
        )
    )
    assert dataset.regions == {"whole": [1, 2], "core": [2]}
    assert dataset.labels == {1: "whole", 2: "core"} and dataset.ignore == 3


def test_its_own_list_of_files(tmp_path: Path) -> None:
    """The key 'dataset' of version 2 names files anywhere."""
    write_nnunet(tmp_path / "elsewhere", cases=1)
    listed = {
        "a": {
            "images": [str(tmp_path / f"elsewhere/imagesTr/case_0_000{c}.nii.gz") for c in (0, 1)],
            "label": str(tmp_path / "elsewhere/labelsTr/case_0.nii.gz"),
        }
    }
    dataset = read_nnunet(write_nnunet(tmp_path / "list", cases=0, dataset=listed))
    (case,) = dataset.cases
    assert case.id == "a" and all(path.is_file() for path in dataset.images(case))


@pytest.mark.parametrize("place", ["raw/Dataset001_X", "nnUNet_preprocessed/Dataset001_X"])
def test_its_folds_are_found(tmp_path: Path, place: str) -> None:
    """splits_final.json beside the cases, or where nnU-Net puts it."""
    root = write_nnunet(tmp_path / "raw" / "Dataset001_X")
    fold = {"train": ["case_0", "case_2"], "val": ["case_1"]}
    path = tmp_path / place / SPLITS
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps([fold]))
    assert read_nnunet(root).folds == ((("case_0", "case_2"), ("case_1",)),)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"labels": {"a": "x"}}, "label 'a' is 'x'; it must be a label value"),
        ({"labels": {"a": 1, "b": 1}}, "gives one value to two names"),
        ({"file_ending": ".png"}, "'file_ending' is '.png'; choose one of .nii.gz"),
        ({"file_ending": ".nii"}, "no file that ends in _0000.nii, .*; it has case_0_0000.nii.gz"),
        ({"channel_names": {"1": "T1"}}, "must count 0, 1, 2"),
        ({"labels": {"w": [1, 2]}, "regions_class_order": [1, 2]}, "for each of the 1 regions"),
        ({"dataset": {"a": {"images": []}}}, "case 'a' needs 'images', a list, and 'label'"),
    ],
)
def test_a_malformed_description_is_one_clear_error(
    tmp_path: Path, change: dict[str, Any], message: str
) -> None:
    """Each mistake is named together with the file."""
    write_nnunet(tmp_path, **change) if "file_ending" not in change else write_nnunet(tmp_path)
    content = json.loads((tmp_path / "dataset.json").read_text())
    (tmp_path / "dataset.json").write_text(json.dumps({**content, **change}))
    with pytest.raises(DataError, match=message) as caught:
        read_nnunet(tmp_path)
    assert str(tmp_path) in str(caught.value)


@pytest.mark.parametrize(
    ("folds", "message"),
    [
        ({}, "must be a list of folds"),
        ([{"train": ["case_0"]}], "fold 0 needs 'train' and 'val'"),
        ([{"train": ["case_0"], "val": ["case_9"]}], "names case_9, which is not in the data"),
        ([{"train": ["case_0"], "val": ["case_0"]}], "case_0 to train and to validate on"),
    ],
)
def test_wrong_folds_are_one_clear_error(tmp_path: Path, folds: Any, message: str) -> None:
    """A splits_final.json of another data set is refused."""
    root = write_nnunet(tmp_path)
    (root / SPLITS).write_text(json.dumps(folds))
    with pytest.raises(DataError, match=f"{SPLITS}.*{message}"):
        read_nnunet(root)


def test_a_sequence_without_a_name_is_an_error(tmp_path: Path) -> None:
    """A third file of a case, where channel_names has two, is not left out in silence."""
    image = write_nnunet(tmp_path, cases=1) / "imagesTr" / "case_0_0000.nii.gz"
    image.with_name("case_0_0002.nii.gz").write_bytes(image.read_bytes())
    with pytest.raises(DataError, match="case_0_0002.nii.gz: 'channel_names' .* names 2 channels"):
        read_nnunet(tmp_path)
