"""The cases of folders: how files are matched, the order, and what is refused."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from tests.viewer.case_folders import SHAPE, case_folders, save
from unet3d.errors import ConfigError, DataError
from unet3d.viewer.case import read_case
from unet3d.viewer.cases import find_cases
from unet3d.viewer.view import view


def test_the_worst_comes_first(tmp_path: Path) -> None:
    """By the mean Dice of the table of each case; all cases have the regions of all labels."""
    cases = find_cases(case_folders(tmp_path))
    assert [case.name for case in cases] == ["b", "a", "c"]
    for case in cases:
        assert case.settings.regions == {"label_1": [1], "label_2": [2]}
        scores = [score.dice for score in read_case(case.settings).scores()]
        assert case.dice == pytest.approx(np.mean([score for score in scores if score is not None]))
    assert cases[2].dice == 1


def test_by_name(tmp_path: Path) -> None:
    """If asked for, and without a truth."""
    settings = case_folders(tmp_path)
    settings.order = "name"
    assert [case.name for case in find_cases(settings)] == ["a", "b", "c"]
    settings.order, settings.truth = "dice", None
    cases = find_cases(settings)
    assert [(case.name, case.dice) for case in cases] == [("a", None), ("b", None), ("c", None)]
    assert cases[0].settings.regions == {"label_1": [1], "label_2": [2]}


def test_scans_in_files_of_one_sequence_each(tmp_path: Path) -> None:
    """As nnU-Net names them; channel= chooses the file."""
    settings = case_folders(tmp_path, "_0001")
    settings.channel = 1
    first = find_cases(settings)[0]
    assert first.settings.image.endswith("b_0001.nii.gz") and first.settings.channel == 0
    settings.channel = 0
    with pytest.raises(DataError, match=r"masks/a.nii.gz: .*scans has no scan of this name"):
        find_cases(settings)


def test_what_does_not_fit_is_refused_before_anything_is_shown(tmp_path: Path) -> None:
    """A grid of another shape, a label file that is missing, a file where a folder must be."""
    settings = case_folders(tmp_path)
    settings.image = str(tmp_path / "scans" / "a.nii.gz")
    with pytest.raises(ConfigError, match="image: .* is not a folder of cases, though pred is"):
        find_cases(settings)
    settings.image, settings.truth = str(tmp_path / "scans"), str(tmp_path / "truth" / "a.nii.gz")
    with pytest.raises(ConfigError, match="truth: .* is not a folder of cases, though pred is"):
        find_cases(settings)
    settings.truth, settings.channel = str(tmp_path / "truth"), 1
    with pytest.raises(
        ConfigError, match=r"channel: 1 is not possible; in .*a.nii.gz it must be 0"
    ):
        find_cases(settings)
    settings.channel, settings.regions = 0, "brain"
    with pytest.raises(ConfigError, match="regions: brain is not known"):
        find_cases(settings)
    settings.regions = "labels"
    save(tmp_path / "masks" / "c.nii.gz", np.zeros((*SHAPE[:2], 9), np.uint8))
    with pytest.raises(DataError, match=r"masks/c.nii.gz: shape \(24, 30, 9\) differs from"):
        find_cases(settings)
    (tmp_path / "truth" / "b.nii.gz").unlink()
    with pytest.raises(DataError, match=r"masks/b.nii.gz: .*truth has no label file of this name"):
        find_cases(settings)


def test_the_files_of_a_folder(tmp_path: Path) -> None:
    """A folder for each case, and a list of them in their order."""
    folder = view(case_folders(tmp_path))
    assert folder == tmp_path / "masks_view"
    assert sorted(path.name for path in folder.iterdir()) == ["a", "b", "c", "index.html"]
    html = (folder / "index.html").read_text()
    assert html.index("b/view.html") < html.index("a/view.html") < html.index("c/view.html")
    assert "<td>1.0000</td>" in html and (folder / "b" / "view.html").exists()
