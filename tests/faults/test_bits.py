"""Bits that flip in a store or in weights: never other numbers without a word."""

from __future__ import annotations

import gzip
import shutil
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from tests.faults.damage import flip_bit, forget, replace_content
from tests.nifti_files import config, write_dataset
from tests.small import small_config
from unet3d.datasets.decathlon import read_decathlon
from unet3d.errors import DataError, RunError
from unet3d.preprocessing import first_read
from unet3d.preprocessing.array_pool import HANDLES
from unet3d.preprocessing.preprocess import preprocess
from unet3d.preprocessing.staging import stage
from unet3d.preprocessing.store import Store, open_store
from unet3d.preprocessing.store_key import input_identity, store_key

READ = {
    "image.b2nd": lambda store: store.image("case_0", (slice(0, 2),) * 3),
    "label.b2nd": lambda store: store.label("case_0", (slice(0, 2),) * 3),
    "foreground.npz": lambda store: store.foreground("case_0"),
}


@pytest.fixture
def store(tmp_path: Path) -> Store:
    write_dataset(tmp_path / "raw", cases=2)
    return preprocess(config(tmp_path))


@pytest.mark.parametrize("name", READ)
def test_a_flipped_bit_in_a_stored_file_is_named(store: Store, tmp_path: Path, name: str) -> None:
    """Wherever it is, and even for a window beside it; `preprocess` then builds the case again."""
    path = store.path / "cases" / "case_0" / name
    whole = path.read_bytes()
    for index in range(40):
        replace_content(path, whole)
        flip_bit(path, index / 40, index % 8)
        forget(store)
        with pytest.raises(DataError) as caught:
            READ[name](store)
        line = str(caught.value)
        assert f"case_0/{name}: checksum" in line and "of case case_0" in line
        assert "unet3d preprocess verify=true" in line and "\n" not in line
    again = preprocess(config(tmp_path))
    READ[name](again)
    assert path.read_bytes() == whole


def test_descriptions_are_checked_too(store: Store, tmp_path: Path) -> None:
    """A digit of case.json or store.json that changes is an error, not another spacing."""
    for path in (store.path / "cases" / "case_0" / "case.json", store.path / "store.json"):
        whole = path.read_text()
        replace_content(path, whole.replace("1.0", "1.5", 1).encode())
        with pytest.raises(DataError, match=f"{path.name}.*its checksum does not match"):
            open_store(store.path)
        with pytest.raises(DataError, match=f"{path.name}.*its checksum does not match"):
            open_store(store.path).geometry("case_0")
        replace_content(path, whole.encode())
    case = store.path / "cases" / "case_0" / "case.json"
    replace_content(case, case.read_bytes().replace(b"1.0", b"1.5", 1))
    with pytest.raises(DataError, match="case.json: cannot be read .*verify=true"):
        store.geometry("case_0")
    assert preprocess(config(tmp_path)) == store


def test_a_file_is_checked_once_by_all_threads(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Eight readers, and handles that were closed meanwhile, read a file as a whole once."""
    forget(store)
    checked: list[str] = []
    checksum = first_read.file_crc32

    def counted(path: Path) -> str:
        checked.append(path.name)
        return checksum(path)

    monkeypatch.setattr(first_read, "file_crc32", counted)
    for _ in range(2):
        with ThreadPoolExecutor(8) as pool:
            list(pool.map(lambda _: store.image("case_0"), range(32)))
        HANDLES.forget(store.path)
    assert checked == ["image.b2nd"]


def test_a_damaged_copy_is_copied_again(store: Store, tmp_path: Path) -> None:
    """With data.stage_to the copy is what is read, hence checked; the next start mends it."""
    staged = stage(store, store.cases, tmp_path / "ssd")
    flip_bit(staged.path / "cases" / "case_1" / "label.b2nd")
    with pytest.raises(DataError, match="ssd/.*case_1/label.b2nd: checksum"):
        staged.label("case_1")
    staged = stage(store, store.cases, tmp_path / "ssd")
    np.testing.assert_array_equal(staged.label("case_1"), store.label("case_1"))


def test_a_training_ends_with_the_readers_own_line(tmp_path: Path) -> None:
    """Not with TensorFlow's traceback, and not with a network of other images."""
    from unet3d.training.loop import next_batch
    from unet3d.training.setup import make_data, stream_of

    settings = small_config(tmp_path)
    found, _, record = make_data(settings)
    for case in found.cases:
        flip_bit(found.path / "cases" / case / "image.b2nd")
    forget(found)
    stream = stream_of(settings, found, record.split)
    with pytest.raises(DataError, match=r"image.b2nd: checksum .*verify=true"):
        next_batch(stream, iter(stream.dataset(0, 1)))


def test_a_gzip_of_several_parts_is_known_by_its_content(tmp_path: Path) -> None:
    """As bgzip writes it: the trailer is of an empty part. Other files keep their store's key."""
    dataset = read_decathlon(write_dataset(tmp_path / "raw", cases=1))
    image = tmp_path / "raw" / "imagesTr" / "case_0.nii.gz"
    before = input_identity(dataset)
    content = image.read_bytes()
    assert before[0][1] == ["imagesTr/case_0.nii.gz", len(content), content[-8:].hex()]
    voxels = bytearray(gzip.decompress(content))
    identities = []
    for value in (1, 2):
        voxels[-1] = value
        parts = [voxels[:2000], voxels[2000:], b""]
        image.write_bytes(b"".join(gzip.compress(part, 0, mtime=0) for part in parts))
        identities.append(input_identity(dataset))
        assert identities[-1][0][1][2] != image.read_bytes()[-8:].hex()
    data = config(tmp_path)
    assert len({store_key(data, dataset, found) for found in identities}) == 2


def _network(filters: int = 4) -> object:
    from unet3d.models import build_model

    model = small_config(Path("outputs")).model
    return build_model(replace(model, filters=filters), channels=2, outputs=3, seed=filters)


def test_a_flipped_bit_in_the_weights_is_an_error(tmp_path: Path) -> None:
    """Of a hundred, each is an error or leaves the weights as they were; so is a shorter file."""
    from unet3d.inference.weights import load_weights, save_weights

    network = _network()
    path = tmp_path / "best.weights.h5"
    save_weights(network, path)
    whole = path.read_bytes()
    expected = network.get_weights()
    refused = 0
    for index in range(100):
        replace_content(path, whole)
        flip_bit(path, index / 100, index % 8)
        try:
            load_weights(network, path)
        except RunError as error:
            refused += 1
            assert str(path) in str(error) and "\n" not in str(error) and "MLflow" in str(error)
        for now, before in zip(network.get_weights(), expected, strict=True):
            np.testing.assert_array_equal(now, before)
    assert refused >= 99
    for length in (0, 1, 100, len(whole) // 2, len(whole) - 100):
        replace_content(path, whole[:length])
        with pytest.raises(RunError, match="best.weights.h5: cannot be read"):
            load_weights(network, path)
    assert [file.name for file in tmp_path.iterdir()] == ["best.weights.h5"]


def test_weights_of_earlier_versions_load_without_a_word(tmp_path: Path) -> None:
    """They have no checksum; and Keras itself reads those that have one."""
    from unet3d.inference.weights import load_weights, save_weights

    network, other = _network(), _network()
    other.set_weights([weight + 1 for weight in other.get_weights()])
    other.save_weights(tmp_path / "old.weights.h5")
    load_weights(network, tmp_path / "old.weights.h5")
    save_weights(other, tmp_path / "new.weights.h5")
    shutil.copy(tmp_path / "new.weights.h5", tmp_path / "copy.weights.h5")
    keras_reads = _network()
    keras_reads.load_weights(tmp_path / "copy.weights.h5")
    for found in (network, keras_reads):
        for now, expected in zip(found.get_weights(), other.get_weights(), strict=True):
            np.testing.assert_array_equal(now, expected)


def test_weights_that_are_not_numbers_or_of_another_network_are_refused(tmp_path: Path) -> None:
    """As runs of earlier versions may have kept them."""
    from unet3d.inference.weights import load_weights, save_weights

    network = _network()
    broken = network.get_weights()
    broken[0][..., 0] = np.nan
    network.set_weights(broken)
    save_weights(network, tmp_path / "nan.weights.h5")
    with pytest.raises(RunError, match=r"nan.weights.h5: holds values that are not numbers"):
        load_weights(_network(), tmp_path / "nan.weights.h5")
    with pytest.raises(RunError, match=r"nan.weights.h5: cannot be read"):
        load_weights(_network(filters=8), tmp_path / "nan.weights.h5")
    with pytest.raises(RunError, match=r"none.weights.h5: cannot be read \(No such file"):
        load_weights(network, tmp_path / "none.weights.h5")
