from __future__ import annotations

import pytest

from tests.nifti_files import config
from unet3d.config.schema import SplitConfig
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
