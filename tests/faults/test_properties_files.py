"""Any cut or flipped byte in a file of a run or a store: the right content, or one error."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tensorflow as tf
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.faults.damage import forget, replace_content
from tests.nifti_files import config, write_dataset
from unet3d.errors import DataError, RunError
from unet3d.preprocessing.preprocess import preprocess
from unet3d.preprocessing.store import open_store
from unet3d.run_folder import RunFolder
from unet3d.training.checkpoint import TrainingProgress, load_checkpoint, save_checkpoint

few = settings(derandomize=True, database=None, deadline=None, max_examples=60)
PLACE = st.integers(0, 2**20 - 1)  # of the file's length, in 2**20ths
DAMAGE = st.one_of(
    st.builds(lambda place: ("cut", place, 0), PLACE),
    st.builds(lambda place, bits: ("flip", place, bits), PLACE, st.integers(1, 255)),
)


def damaged(content: bytes, how: tuple[str, int, int]) -> bytes:
    kind, place, bits = how
    index = place * len(content) >> 20
    if kind == "cut":
        return content[:index]
    return content[:index] + bytes([content[index] ^ bits]) + content[index + 1 :]


def one_line(call: Callable[[], Any]) -> Any:
    """What `call` returns, or None after an error of ours that is one line."""
    try:
        return call()
    except (DataError, RunError) as error:
        assert "\n" not in str(error)
        return None


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("store")
    write_dataset(folder / "raw", cases=1)
    preprocess(config(folder))
    return folder


def content_of(path: Path) -> tuple[Any, ...] | None:
    """All that a store says of its case; None after one line."""

    def read() -> tuple[Any, ...]:
        store = open_store(path)
        forget(store)
        foreground = store.foreground("case_0")
        return (
            store,
            store.image("case_0").tobytes(),
            store.label("case_0").tobytes(),
            {value: voxels.tolist() for value, voxels in foreground.items()},
            store.geometry("case_0"),
        )

    return one_line(read)


@pytest.mark.parametrize(
    "name", ["image.b2nd", "label.b2nd", "foreground.npz", "case.json", "store.json"]
)
def test_a_store_is_right_or_refused(built: Path, name: str) -> None:
    """Each file that training reads, opened as the next process would."""
    store = preprocess(config(built))
    path = store.path / name if name == "store.json" else store.path / "cases" / "case_0" / name
    whole, expected = path.read_bytes(), content_of(store.path)
    assert expected is not None

    @few
    @given(DAMAGE)
    def check(how: tuple[str, int, int]) -> None:
        replace_content(path, damaged(whole, how))
        assert content_of(store.path) in (None, expected)
        (path.parent / "damaged").unlink(missing_ok=True)

    check()
    replace_content(path, whole)


def test_a_checkpoint_is_right_or_refused(tmp_path: Path) -> None:
    """The variables are all as they were saved, or all untouched."""
    folder = RunFolder(tmp_path)
    folder.checkpoints.mkdir()
    values = np.arange(100, dtype=np.float32)
    progress = TrainingProgress(step=3, best=0.5, history=[{"epoch": 1, "metrics": {"a": 2.0}}])
    save_checkpoint(folder, {"model/0000": values, "optimizer/0000": np.int64(3)}, progress)
    whole = folder.last_checkpoint.read_bytes()

    @few
    @given(DAMAGE)
    def check(how: tuple[str, int, int]) -> None:
        folder.last_checkpoint.write_bytes(damaged(whole, how))
        state = {
            "model/0000": tf.Variable(tf.zeros(100)),
            "optimizer/0000": tf.Variable(0, dtype=tf.int64),
        }
        found = one_line(lambda: load_checkpoint(folder, state))
        assert found in (None, progress)
        wanted = np.zeros(100) if found is None else values
        np.testing.assert_array_equal(state["model/0000"].numpy(), wanted)
        assert state["optimizer/0000"].numpy() == (0 if found is None else 3)

    check()


def test_weights_are_right_or_refused(tmp_path: Path) -> None:
    """A network is never given other weights than were kept."""
    import keras

    from unet3d.inference.weights import load_weights, save_weights

    network = keras.Sequential([keras.Input((4,)), keras.layers.Dense(8)])
    expected = network.get_weights()
    path = tmp_path / "best.weights.h5"
    save_weights(network, path)
    whole = path.read_bytes()

    @few
    @given(DAMAGE)
    def check(how: tuple[str, int, int]) -> None:
        path.write_bytes(damaged(whole, how))
        network.set_weights([np.zeros_like(weight) for weight in expected])
        if one_line(lambda: load_weights(network, path) or True):
            for found, weight in zip(network.get_weights(), expected, strict=True):
                np.testing.assert_array_equal(found, weight)

    check()
