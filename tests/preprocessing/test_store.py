from __future__ import annotations

import pickle
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

import numpy as np
import pytest

from tests.nifti_files import config, write_dataset
from unet3d.errors import DataError
from unet3d.preprocessing import array_pool as handles
from unet3d.preprocessing.preprocess import preprocess
from unet3d.preprocessing.store import open_store


@pytest.fixture(scope="module")
def store(tmp_path_factory):
    folder = tmp_path_factory.mktemp("store")
    write_dataset(folder / "raw", cases=4)
    return preprocess(config(folder))


def test_windows_are_parts_of_the_volume(store):
    """A window holds the same voxels as the whole volume, for images and labels."""
    window = (slice(1, 5), slice(2, 9), slice(0, 7))
    np.testing.assert_array_equal(store.image("case_0", window), store.image("case_0")[window])
    np.testing.assert_array_equal(store.label("case_0", window), store.label("case_0")[window])


def test_foreground_points_at_its_label(store):
    """Every indexed voxel carries the label that it is filed under."""
    label = store.label("case_1")
    for value, voxels in store.foreground("case_1").items():
        assert voxels.dtype == np.int16 and (label[tuple(voxels.T)] == value).all()
        assert len(voxels) == (label == value).sum()


def test_many_threads_read_right_and_handles_stay_few(store, monkeypatch):
    """Readers never see another's voxels, and open handles do not grow with the cases."""
    monkeypatch.setattr(handles, "HANDLES", handles.HandlePool(idle=3))
    whole = {case: store.image(case) for case in store.cases}

    def read(position):
        case = f"case_{position % 4}"
        x = position % 3
        return np.array_equal(
            store.image(case, (slice(x, x + 4), slice(0, 9), slice(0, 7))), whole[case][x : x + 4]
        )

    with ThreadPoolExecutor(8) as pool:
        assert all(pool.map(read, range(400)))
    assert len(handles.HANDLES) <= 3


def test_a_store_is_a_plain_value(store):
    """It opens equal from its folder, and travels to another process."""
    assert open_store(store.path) == store
    assert pickle.loads(pickle.dumps(store)) == store


def test_what_is_not_there_is_named(store, tmp_path):
    """A folder without a store, and a case that is not in it, are DataErrors."""
    with pytest.raises(DataError, match="not a complete store"):
        open_store(tmp_path)
    with pytest.raises(DataError, match="no case nobody"):
        store.image("nobody")
    with pytest.raises(DataError, match="no case case_0"):
        replace(store, cases={}).label("case_0")
