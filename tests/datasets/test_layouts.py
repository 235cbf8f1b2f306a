from __future__ import annotations

import json
import shlex
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.layout_folders import write_folders, write_nnunet, write_table
from tests.nifti_files import write_dataset
from unet3d.config.compose import compose_config
from unet3d.datasets.layouts import describe_folder, find_layout
from unet3d.datasets.read import read_dataset
from unet3d.doctor.layout import with_found_layout


def _first_version(root: Path) -> Path:
    write_nnunet(root, cases=1)
    training = [{"image": "imagesTr/case_0.nii.gz", "label": "labelsTr/case_0.nii.gz"}]
    content = {"modality": {"0": "a", "1": "b"}, "labels": {"1": "x"}, "training": training}
    (root / "dataset.json").write_text(json.dumps(content))
    return root


def _bids(root: Path) -> Path:
    (root / "sub-01" / "anat").mkdir(parents=True)
    return root


@pytest.mark.parametrize(
    ("write", "overrides"),
    [
        (write_dataset, ("data=msd",)),
        (write_nnunet, ("data=nnunet",)),
        (_first_version, ("data=nnunet",)),
        (write_folders, ("data=folders", "data.pattern={case}/{case}-{channel}.nii.gz")),
        (write_table, ("data=table",)),
        (
            _bids,
            (
                "data=folders",
                "data.pattern=sub-{case}/anat/sub-{case}_{channel}.nii.gz",
                "data.label=derivatives/labels/sub-{case}/anat/sub-{case}_dseg.nii.gz",
            ),
        ),
    ],
)
def test_each_layout_is_found(
    tmp_path: Path, write: Callable[[Path], Path], overrides: tuple[str, ...]
) -> None:
    """With the settings to type for it."""
    found = find_layout(write(tmp_path))
    assert found is not None and found.overrides == overrides


def test_another_folder_is_none(tmp_path: Path) -> None:
    """Images alone, a text file, and a folder that does not exist have no layout."""
    (tmp_path / "scans").mkdir()
    (tmp_path / "scans" / "a.nii.gz").touch()
    assert find_layout(tmp_path / "scans") is None
    assert find_layout(tmp_path / "missing") is None
    assert "these are images, without a list" in describe_folder(tmp_path / "scans")


def test_what_to_type_is_part_of_the_message(tmp_path: Path) -> None:
    """data=msd on a folder of another layout says which choice reads it."""
    message = describe_folder(write_folders(tmp_path))
    assert "type data=folders 'data.pattern={case}/{case}-{channel}.nii.gz'" in message


def test_the_folder_of_a_list_and_the_list_of_a_folder(tmp_path: Path) -> None:
    """data.root may be the folder of a table; of a dataset.json it must be the folder."""
    table = write_table(tmp_path / "table")
    found = find_layout(table.parent)
    assert found is not None and (found.overrides, found.root) == (("data=table",), table)
    (table.parent / "scores.csv").write_text("case,score\n")  # no list of cases
    assert find_layout(table.parent) == found
    described = write_nnunet(tmp_path / "nnunet", cases=1) / "dataset.json"
    assert find_layout(described) is None
    assert f"type data.root={described.parent}" in describe_folder(described)


def test_the_command_that_doctor_prints_is_complete(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """A layout without names of labels gets stand-ins, so that it can be trained as printed."""
    table = write_table(tmp_path)
    overrides = with_found_layout([f"data.root={tmp_path}"])
    assert overrides == ["data=table", f"data.root={table}", "data.labels={1:label_1,2:label_2}"]
    assert len(read_dataset(compose_config(overrides).data).cases) == 3
    assert shlex.join(overrides) in capsys.readouterr().out
    typed = [f"data.root={tmp_path}", "data.labels={1:a,2:b}"]
    assert with_found_layout(typed)[1:] == ["data.labels={1:a,2:b}", f"data.root={table}"]
