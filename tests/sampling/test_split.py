from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from tests.nifti_files import config
from unet3d.config.schema import SplitConfig
from unet3d.datasets.dataset import Case, Dataset
from unet3d.errors import ConfigError
from unet3d.sampling.split import make_split

IDS = [f"case_{index:03d}" for index in range(20)]


def test_parts_are_seeded_disjoint_and_whole(tmp_path):
    """Every case is in one part, the order of the ids is nothing, and the seed decides."""
    data = config(tmp_path)
    split = make_split(IDS, data)
    assert sorted(split.train + split.val + split.test) == IDS
    assert [len(split.train), len(split.val), len(split.test)] == [14, 3, 3]
    assert make_split(reversed(IDS), data) == split
    assert make_split(IDS, config(tmp_path, split_seed=1)) != split


@pytest.mark.parametrize(
    ("cases", "shares", "expected"),
    [
        (484, (0.7, 0.15, 0.15), (339, 73, 72)),
        (4, (0.75, 0.25, 0.0), (3, 1, 0)),
        (3, (0.9, 0.05, 0.05), (1, 1, 1)),
        (2, (0.7, 0.15, 0.15), (1, 1, 0)),
        (5, (1.0, 0.0, 0.0), (4, 1, 0)),
    ],
)
def test_rounding(tmp_path, cases, shares, expected):
    """Largest remainders; training and validation, and a part that asks, get a case if they can."""
    ids = [str(index) for index in range(cases)]
    split = make_split(ids, config(tmp_path, split=SplitConfig(*shares)))
    assert (len(split.train), len(split.val), len(split.test)) == expected


def test_a_share_of_the_training_cases_lies_within_a_larger_one(tmp_path):
    """Of the same validation and test cases; groups stay together, one case is left at least."""
    whole = make_split(IDS, config(tmp_path))
    half = make_split(IDS, config(tmp_path, train_share=0.5))
    tenth = make_split(IDS, config(tmp_path, train_share=0.01))
    assert (len(whole.train), len(half.train), len(tenth.train)) == (14, 7, 1)
    assert set(tenth.train) < set(half.train) < set(whole.train)
    assert (half.val, half.test) == (whole.val, whole.test)
    dataset = _dataset([_case(id, group=str(at // 2)) for at, id in enumerate(IDS)])
    whole, half = (make_split(IDS, config(tmp_path, train_share=s), dataset) for s in (1.0, 0.5))
    groups = [IDS.index(id) // 2 for id in half.train]
    assert set(half.train) < set(whole.train) and all(groups.count(one) == 2 for one in groups)


def test_folds_share_the_test_part_and_cover_the_rest_once(tmp_path):
    """The test part is the same in all folds; each other case validates in exactly one."""
    splits = [make_split(IDS, config(tmp_path, folds=5, fold=fold)) for fold in range(5)]
    assert len({split.test for split in splits}) == 1
    assert sorted(case for split in splits for case in split.val) == sorted(
        set(IDS) - set(splits[0].test)
    )
    assert all(set(split.train).isdisjoint(split.val + split.test) for split in splits)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"folds": 5, "fold": 5}, "data.fold: 5 .* 0 to 4"),
        ({"folds": 5}, "data.fold: not set"),
        ({"fold": 0}, "needs data.folds"),
        ({"folds": 50, "fold": 0}, "data.folds: 50"),
        ({"split": SplitConfig(0.5, 0.1, 0.1)}, "sums to 0.7"),
        ({"split": SplitConfig(1.2, -0.2, 0.0)}, "data.split.train: 1.2"),
    ],
)
def test_impossible_settings_name_the_key(tmp_path, changes, message):
    """A split that cannot be made is a ConfigError with the key and what is allowed."""
    with pytest.raises(ConfigError, match=message):
        make_split(IDS, config(tmp_path, **changes))


def test_one_case_cannot_be_split(tmp_path):
    """Training and validation never share the only case."""
    with pytest.raises(ConfigError, match="2 or more"):
        make_split(["a"], config(tmp_path))


def _dataset(cases: list[Case], **fields: Any) -> Dataset:
    return Dataset(Path(), Path(), ("t1",), {1: "tumour"}, tuple(cases), **fields)


def _case(id: str, group: str = "", part: str = "", fold: int | None = None) -> Case:
    return Case(id, (f"{id}.nii.gz",), f"{id}_seg.nii.gz", group, part, fold)


def test_without_groups_or_parts_a_data_set_changes_nothing(tmp_path):
    """Splits of earlier versions stay what they were."""
    dataset = _dataset([_case(id) for id in IDS])
    assert make_split(IDS, config(tmp_path), dataset) == make_split(IDS, config(tmp_path))


@pytest.mark.parametrize("changes", [{}, {"folds": 3, "fold": 1}])
def test_a_group_stays_together(tmp_path, changes):
    """The scans of a patient are never on both sides of a split, and parts keep their sizes."""
    dataset = _dataset([_case(id, group=str(index // 3)) for index, id in enumerate(IDS)])
    split = make_split(IDS, config(tmp_path, **changes), dataset)
    parts = [split.train, split.val, split.test]
    groups = [{IDS.index(id) // 3 for id in part} for part in parts]
    assert not (groups[0] & groups[1] or groups[0] & groups[2] or groups[1] & groups[2])
    assert sorted(case for part in parts for case in part) == IDS and all(parts)
    assert len(split.test) == 3


def test_parts_that_the_data_set_lists(tmp_path):
    """They count in place of data.split; a case without one is trained on."""
    parts = ["test", "val", "train", "val", ""] + ["train"] * 15
    dataset = _dataset([_case(id, part=part) for id, part in zip(IDS, parts, strict=True)])
    split = make_split(IDS, config(tmp_path), dataset)
    assert split.test == (IDS[0],) and split.val == (IDS[1], IDS[3]) and IDS[4] in split.train
    folds = [make_split(IDS, config(tmp_path, folds=4, fold=f), dataset) for f in range(4)]
    assert {fold.test for fold in folds} == {(IDS[0],)}
    assert sorted(case for fold in folds for case in fold.val) == IDS[1:]


def test_a_list_without_validation_cases_leaves_some_of_training(tmp_path):
    """By the shares of data.split."""
    parts = ["test"] * 4 + ["train"] * 16
    dataset = _dataset([_case(id, part=part) for id, part in zip(IDS, parts, strict=True)])
    split = make_split(IDS, config(tmp_path), dataset)
    assert split.test == tuple(IDS[:4]) and len(split.val) == 3 and len(split.train) == 13


def test_folds_that_the_data_set_lists(tmp_path):
    """splits_final.json, or a column: data.fold chooses; other numbers of folds are refused."""
    given = (tuple(IDS[2:]), tuple(IDS[:2])), (tuple(IDS[:18]), tuple(IDS[18:]))
    listed = _dataset([_case(id) for id in IDS], folds=given)
    column = _dataset([_case(id, fold=int(id in IDS[18:])) for id in IDS])
    assert make_split(IDS, config(tmp_path, fold=1), listed).val == tuple(IDS[18:])
    split = make_split(IDS, config(tmp_path, fold=1, split=SplitConfig(0.8, 0.2, 0.0)), column)
    assert split.val == tuple(IDS[18:]) and not split.test
    for dataset in (listed, column):
        with pytest.raises(ConfigError, match="data.fold: 2 is not possible; .* folds 0 to 1"):
            make_split(IDS, config(tmp_path, fold=2), dataset)
        with pytest.raises(ConfigError, match="data.folds: 5, but .* has 2; leave it out"):
            make_split(IDS, config(tmp_path, fold=1, folds=5), dataset)
