from __future__ import annotations

import json

import pytest

from tests.nifti_files import write_dataset
from unet3d.datasets.decathlon import read_decathlon
from unet3d.errors import DataError


def test_reads_the_decathlon_layout(tmp_path):
    """Channels keep their order, the background is no label, and cases are sorted by id."""
    dataset = read_decathlon(write_dataset(tmp_path, cases=2))
    assert dataset.channels == ("sequence 0", "sequence 1")
    assert dataset.labels == {1: "edema", 2: "core"}
    assert [case.id for case in dataset.cases] == ["case_0", "case_1"]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda d: d.pop("labels"), "lacks the key 'labels'"),
        (lambda d: d.update(training=[]), "at least one case"),
        (lambda d: d["training"].append(d["training"][0]), "two cases are called case_0"),
        (lambda d: d["training"].append({"image": "x.nii.gz"}), "needs 'image' and 'label'"),
        (lambda d: d["training"][0].update(image="imagesTr/a.png"), "not the name of a .nii.gz"),
        (lambda d: d.update(labels={"0": "background"}), "no value beside"),
        (lambda d: d.update(labels={"300": "x"}), "300 is not between 0 and 255"),
        (lambda d: d.update(modality=["T1"]), "must map numbers to names"),
    ],
)
def test_a_malformed_description_is_one_clear_error(tmp_path, change, message):
    """Each mistake in dataset.json is named together with the file."""
    write_dataset(tmp_path, cases=1)
    description = json.loads((tmp_path / "dataset.json").read_text())
    change(description)
    (tmp_path / "dataset.json").write_text(json.dumps(description))
    with pytest.raises(DataError, match=message) as caught:
        read_decathlon(tmp_path)
    assert "dataset.json" in str(caught.value)


@pytest.mark.parametrize("text", [None, "{", "[]"])
def test_no_description_or_no_json(tmp_path, text):
    """A missing or broken dataset.json is a DataError, not a traceback of json."""
    if text is not None:
        (tmp_path / "dataset.json").write_text(text)
    with pytest.raises(DataError, match="dataset.json"):
        read_decathlon(tmp_path)
