"""Two names that become one key: no label, case, file or region is lost to it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.nifti_files import write_dataset
from unet3d.config.compose import compose_config
from unet3d.config.schema import DataConfig, PredictConfig
from unet3d.datasets.decathlon import read_decathlon
from unet3d.datasets.label_files import chosen_regions, label_files
from unet3d.errors import ConfigError, DataError
from unet3d.inference.predict import _outputs
from unet3d.inference.scan import Scan, find_scans, input_paths
from unet3d.sampling.targets import make_targets, output_names


@pytest.mark.parametrize(
    ("labels", "names"),
    [
        ({1: "TC+", 2: "TC-"}, ["tc_1", "tc_2"]),
        ({1: "опухоль", 2: "отёк"}, ["label_1", "label_2"]),
        ({1: "tc", 2: "TC+", 3: "TC 1"}, ["tc_1_", "tc_2", "tc_1"]),
        ({1: "background", 2: "edema"}, ["background", "edema"]),
        ({1: "edema", 2: "Non-enhancing tumor"}, ["edema", "non_enhancing_tumor"]),
    ],
)
@pytest.mark.parametrize("target", ["regions", "classes"])
def test_every_label_has_an_output(labels: dict[int, str], names: list[str], target: str) -> None:
    """As many outputs as labels, with names of their own; names that were unique stay."""
    assert list(output_names(labels).values()) == names
    targets = make_targets(DataConfig(target=target), labels)
    first = 1 if target == "classes" else 0
    assert len(set(targets.names)) == len(targets.names) == len(labels) + first
    for output, value in enumerate(labels, start=first):
        np.testing.assert_array_equal(np.flatnonzero(targets.table[:, output]), [value])


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ('"1": "edema"', '"1": "edema", "1": "core"', "the key '1' is given twice"),
        ('"1": "edema"', '"1": "edema", "01": "core"', "'labels' names 1 twice"),
        ("case_1.nii.gz", "CASE_0.nii.gz", "two cases are called CASE_0: "),
        ("case_1.nii.gz", "case_0.nii", "two cases are called case_0: "),
    ],
)
def test_a_description_names_nothing_twice(
    tmp_path: Path, old: str, new: str, message: str
) -> None:
    """JSON keeps the last of two keys, and some file systems the last of two files."""
    write_dataset(tmp_path, cases=2)
    path = tmp_path / "dataset.json"
    text = json.dumps(json.loads(path.read_text()))
    assert old in text
    path.write_text(text.replace(old, new))
    with pytest.raises(DataError, match=message):
        read_decathlon(tmp_path)


def files(folder: Path, *names: str) -> str:
    folder.mkdir(exist_ok=True)
    for name in names:
        (folder / name).touch()
    return str(folder)


@pytest.mark.parametrize(
    ("names", "channels", "scans"),
    [
        (["amos_0001", "amos_0002"], 1, ["amos_0001", "amos_0002"]),
        (["amos_0000", "amos_0001"], 1, ["amos_0000", "amos_0001"]),
        (["amos_0001", "amos_0002"], 2, ["amos_0001", "amos_0002"]),
        (["patA_2019", "patA_2020"], 2, ["patA_2019", "patA_2020"]),
        (["a_0000", "a_0001", "a_0002"], 2, ["a_0000", "a_0001", "a_0002"]),
        (["a_0000", "a_0001", "b_0000", "b_0001"], 2, ["a", "b"]),
        (["a_0000", "a_0001", "b_0000", "c"], 2, ["a", "b_0000", "c"]),
        (["_0000", "_0001"], 2, ["_0000", "_0001"]),
    ],
)
def test_only_all_sequences_of_a_network_are_one_case(
    tmp_path: Path, names: list[str], channels: int, scans: list[str]
) -> None:
    """Numbers at the end of a name are sequences where they are exactly those of the network."""
    found = find_scans(files(tmp_path / "in", *(f"{name}.nii.gz" for name in names)), channels)
    assert [scan.name for scan in found] == scans
    assert sum(len(scan.files) for scan in found) == len(names)


@pytest.mark.parametrize("names", [["a.nii", "a.nii.gz"], ["a_0000.nii", "a_0001.nii", "a.nii"]])
def test_two_scans_of_one_name_are_refused(tmp_path: Path, names: list[str]) -> None:
    """They would write one segmentation; none is left out without a word."""
    with pytest.raises(DataError, match=r"a\S*.nii\S* and .* would both be segmented as a.nii.gz"):
        find_scans(files(tmp_path / "in", *names), 2)


def test_outputs_that_are_one_file_where_case_is_ignored_are_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """On such a file system A.nii.gz would replace a.nii.gz."""
    settings = PredictConfig(run="x", input=str(tmp_path), output=str(tmp_path / "out"))
    scans = [Scan(name, (tmp_path / f"{name}.nii",)) for name in ("A", "a")]
    assert len(_outputs(settings, scans)) == 2
    monkeypatch.setattr("unet3d.inference.predict._check_writable", lambda _: True)
    with pytest.raises(ConfigError, match="A.nii.gz and a.nii.gz are one file"):
        _outputs(settings, scans)


def test_label_files_of_one_name_are_refused(tmp_path: Path) -> None:
    """`unet3d evaluate` would score only one of a.nii and a.nii.gz."""
    with pytest.raises(DataError, match="a.nii is of the same case"):
        label_files(Path(files(tmp_path / "pred", "a.nii", "a.nii.gz")))


def test_a_list_of_files_may_have_commas_in_names(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As a,b or as [a,b]; a comma that belongs to an existing file is no separator."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HOME", str(tmp_path))
    files(tmp_path, "a.nii", "b.nii", "x,y.nii", "pat: 1 (a=b) #{2}.nii")

    def named(given: str) -> list[str]:
        return [path.name for path in input_paths(given)]

    assert named("a.nii,b.nii") == named("[a.nii, b.nii]") == named("~/a.nii,~/b.nii")
    assert named("a.nii,b.nii") == ["a.nii", "b.nii"]
    assert named("x,y.nii") == ["x,y.nii"]
    assert named("a.nii,x,y.nii,b.nii") == named("[a.nii,'x,y.nii',b.nii]")
    assert named("a.nii,x,y.nii,b.nii") == ["a.nii", "x,y.nii", "b.nii"]
    assert named("pat: 1 (a=b) #{2}.nii") == ["pat: 1 (a=b) #{2}.nii"]
    for missing in ("a.nii,c.nii", "[c.nii]", "", ",", "x" * 5000):
        with pytest.raises(DataError, match="does not exist"):
            input_paths(missing)


@pytest.mark.parametrize(
    ("regions", "message"),
    [
        ({"TC+": [1], "TC-": [2]}, "'TC.' and 'TC-?.?' would be one name in MLflow"),
        ({"core": [1], "Core": [2]}, "'core' and 'Core' would be one name"),
        ({"../up": [1]}, "'../up' is not possible"),
        ({"a\\b": [1]}, "is not possible; it must be a name, not a path"),
        ({"..": [1]}, "is not possible; it must be a name"),
        ({"": [1]}, "is not possible; it must be a name"),
        ({"a\0": [1]}, "is not possible; it must be a name"),
    ],
)
def test_regions_have_names_of_their_own(regions: dict[str, Any], message: str) -> None:
    """Names that files or MLflow would take for one, and paths, are refused in one line."""
    if "TC-" in regions:
        regions = {"TC+": [1], "TC?": [2]}
    with pytest.raises(ConfigError, match=message):
        chosen_regions(regions, [])


@pytest.mark.parametrize("name", ["../../up", "a/b", "..", "", "a\\b", "x" * 300])
def test_an_experiment_is_no_path(name: str) -> None:
    """Its artifacts stay in the folder of artifacts."""
    with pytest.raises(ConfigError, match="tracking.experiment: .* it must be a name, not a path"):
        compose_config([f"tracking.experiment={name}"])
    assert compose_config(["tracking.experiment=2024_05 é"]).tracking.experiment == "2024_05 é"
