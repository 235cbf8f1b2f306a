"""The record of a run's split: what it holds, and how data are compared with it."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from tests.layout_folders import write_table
from tests.nifti_files import config, write_dataset
from unet3d.config.compose import compose_config
from unet3d.errors import DataError, RunError
from unet3d.preprocessing.preprocess import preprocess
from unet3d.run_folder import run_folder
from unet3d.sampling.split import make_split
from unet3d.sampling.split_record import differences, new_record, read_record, write_record
from unet3d.training.setup import make_data


def test_a_record_is_read_as_it_was_written(tmp_path: Path) -> None:
    """And a file that says the same is left alone."""
    write_dataset(tmp_path / "raw")
    data = config(tmp_path)
    store = preprocess(data)
    record = new_record(make_split(store.cases, data), store)
    assert record.inputs.keys() == store.cases.keys() and all(record.inputs.values())
    path = tmp_path / "split.json"
    write_record(path, record)
    assert read_record(path) == record
    inode = path.stat().st_ino
    write_record(path, record)
    assert path.stat().st_ino == inode


def test_names_of_files_do_not_matter(tmp_path: Path) -> None:
    """A data set that was moved, or whose files have another folder, is the same."""
    first = preprocess(config(tmp_path, root=str(write_dataset(tmp_path / "raw"))))
    description = tmp_path / "raw" / "dataset.json"
    description.write_text(description.read_text().replace("./imagesTr", "./images"))
    (tmp_path / "raw" / "imagesTr").rename(tmp_path / "raw" / "images")
    assert preprocess(config(tmp_path)).inputs == first.inputs


def test_a_record_of_an_earlier_version_has_ids_alone(tmp_path: Path) -> None:
    """Its cases are as they are found; a damaged file is one line."""
    path = tmp_path / "split.json"
    path.write_text('{"split_seed": 0, "train": ["a"], "val": ["b"], "test": []}')
    record = read_record(path)
    assert record is not None and record.split.train == ("a",) and record.inputs == {}
    assert read_record(tmp_path / "none.json") is None
    path.write_text('{"train": ["a"')
    with pytest.raises(RunError, match="split.json: the run's split cannot be read"):
        read_record(path)


def test_differences_name_the_cases() -> None:
    """By kind; of many the first five."""
    before = {"a": "1", "b": "2", "c": ""}
    assert differences(before, {"a": "1", "b": "2", "c": "3", "d": "4"}) == ""
    assert differences(before, {"a": "9", "c": "3"}) == "changed a; missing b"
    assert differences({"a": "1"}, {"a": "1", "b": "2"}, "ab") == "new b"
    many = {f"c{index}": "1" for index in range(7)}
    assert differences(many, {}) == "missing c0, c1, c2, c3, c4 and 2 more"


def test_a_weight_that_changes_is_named(tmp_path: Path) -> None:
    """A resumed run draws its cases as it began; of a case to validate on the weight is nothing."""

    def table(*weights: float) -> None:
        split = ["train"] * 3 + ["val"]
        write_table(tmp_path, cases=4, split=split, weight=list(weights))  # type: ignore[arg-type]

    table(1, 2, 0.5, 1)
    own = ["data=table", f"data.root={tmp_path / 'cases.csv'}"]
    own += ["data.patch=[8,8,8]", "data.labels={1:a,2:b}"]
    own += [f"output_dir={tmp_path / 'out'}", "tracking=none"]
    began = compose_config(own)
    record = make_data(began)[2]
    assert record.weights == {"case_1": 2, "case_2": 0.5}
    folder = run_folder(began.output_dir, "abc")
    folder.path.mkdir(parents=True)
    write_record(folder.split, record)
    assert read_record(folder.split) == record
    again = replace(began, resume="abc")
    table(1, 2, 0.5, 7)
    assert make_data(again)[2] == record
    table(3, 2, 1, 1)
    line = "began: weight of case_0: 3, was 1, case_2: 1, was 0.5; put back .* data.changed=accept"
    with pytest.raises(DataError, match=line):
        make_data(again)
    accepting = replace(again, data=replace(again.data, changed="accept"))
    accepted = make_data(accepting)[2]
    assert accepted.weights == {"case_0": 3, "case_1": 2}
    assert accepted.accepted == ("weight of case_0: 3, was 1, case_2: 1, was 0.5",)
    write_record(folder.split, replace(record, weights=None))  # of an earlier version
    assert make_data(again)[2].weights == {"case_0": 3, "case_1": 2}
