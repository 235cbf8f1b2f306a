"""Whatever a NIfTI file or dataset.json holds: read as it was, or one DataError; bounded memory."""

from __future__ import annotations

import gzip
import json
import tempfile
import tracemalloc
import zlib
from pathlib import Path
from typing import Any

import nibabel
import numpy as np
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from scipy.ndimage import label

from tests.nifti_files import LPS
from unet3d.datasets.dataset import Dataset
from unet3d.datasets.decathlon import read_decathlon
from unet3d.datasets.nifti import read_header, read_voxels, to_file_units
from unet3d.errors import DataError
from unet3d.preprocessing.background import background_value, differs, fill_enclosed

VOXELS = np.arange(4 * 5 * 6, dtype=np.int16).reshape(4, 5, 6)
PLAIN = {
    1: nibabel.Nifti1Image(VOXELS, LPS).to_bytes(),
    2: nibabel.Nifti2Image(VOXELS, LPS).to_bytes(),
}
MOST_BYTES = 8_000_000  # for a file of a kilobyte
EXAMPLES = settings(
    max_examples=150,
    deadline=None,
    derandomize=True,
    suppress_health_check=[HealthCheck.too_slow],
)


def read(content: bytes, name: str) -> tuple[np.ndarray, Any] | None:
    """The voxels and header, or None after a DataError of one line that names the file."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / name
        path.write_bytes(content)
        tracemalloc.start()
        try:
            header = read_header(path)
            voxels, found = read_voxels(path)
            assert (found.shape, found.dtype) == (header.shape, header.dtype)
            assert min(header.spacing) > 0 and np.isfinite(header.affine).all()
            to_file_units(voxels, found)
            return voxels, found
        except DataError as error:
            assert str(error).startswith(str(path)) and "\n" not in str(error)
            return None
        finally:
            peak = tracemalloc.get_traced_memory()[1]
            tracemalloc.stop()
            assert peak < MOST_BYTES, peak


kinds = st.sampled_from([1, 2])
flips = st.lists(st.tuples(st.integers(0, 539), st.integers(0, 255)), min_size=1, max_size=8)
words = st.sampled_from(
    [b"\xff\xff\xff\x7f", b"\0\0\xc0\x7f", b"\0\0\x80\xff", b"\xff" * 8, b"\0" * 8, b"\xff\x7f"]
)


@EXAMPLES
@given(kinds, flips, st.booleans())
def test_bytes_of_the_header(kind, changes, compressed):
    """Any header is read, or refused; never a traceback, never much memory."""
    content = bytearray(PLAIN[kind])
    for place, value in changes:
        content[place] = value
    read(gzip.compress(content) if compressed else bytes(content), f"a.nii{'.gz' * compressed}")


@EXAMPLES
@given(kinds, st.lists(st.tuples(st.integers(0, 135), words), min_size=1, max_size=4))
def test_extreme_numbers_in_the_header(kind, changes):
    """Largest sizes, NaN, infinity and zeros in any field."""
    content = bytearray(PLAIN[kind])
    for place, word in changes:
        content[place * 4 : place * 4 + len(word)] = word
    read(bytes(content), "a.nii")


@EXAMPLES
@given(kinds, st.integers(0, 900), st.integers(0, 7))
def test_a_flipped_bit_of_a_gz_is_never_silent(kind, place, bit):
    """The checksum of the .gz finds it: the same voxels and grid, or an error."""
    content = bytearray(gzip.compress(PLAIN[kind], mtime=0))
    content[place % len(content)] ^= 1 << bit
    found = read(bytes(content), "a.nii.gz")
    if found is not None:  # a bit that means nothing, such as the time in the .gz
        np.testing.assert_array_equal(found[0], VOXELS)
        np.testing.assert_array_equal(found[1].affine, LPS)


@EXAMPLES
@given(kinds, st.integers(0, 10_000), st.booleans())
def test_a_cut_file_is_never_silent(kind, length, compressed):
    """However short, it is refused."""
    content = gzip.compress(PLAIN[kind]) if compressed else PLAIN[kind]
    assert read(content[: length % len(content)], f"a.nii{'.gz' * compressed}") is None


@settings(EXAMPLES, max_examples=40)
@given(st.integers(1, 60_000_000), st.integers(0, 2**32 - 1))
def test_what_a_gz_holds_beside_its_header(length, announced):
    """A bomb, whatever length its trailer gives, needs no more memory than its header says."""
    packer = zlib.compressobj(9, zlib.DEFLATED, -15)
    body = packer.compress(PLAIN[1] + bytes(length)) + packer.flush()
    start = b"\x1f\x8b\x08" + bytes(6) + b"\xff"
    read(start + body + bytes(4) + announced.to_bytes(4, "little"), "a.nii.gz")


values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=6), inner),
    max_leaves=6,
)
entry = st.dictionaries(st.sampled_from(["image", "label", "x"]), st.text(max_size=12) | values)
numbered = st.dictionaries(st.integers(-1, 300).map(str) | st.text(max_size=3), st.text(max_size=4))
described = st.fixed_dictionaries(
    {
        "modality": st.just({"0": "T1"}) | numbered | values,
        "labels": st.just({"1": "x"}) | numbered | values,
        "training": st.lists(entry, max_size=3) | values,
    }
)


@EXAMPLES
@given(described | values)
def test_any_dataset_json(content):
    """Read as it is, with paths inside the folder, or one short line."""
    _read_json(json.dumps(content).encode())


@EXAMPLES
@given(st.binary(max_size=200), st.integers(0, 200))
def test_any_bytes_as_dataset_json(noise, place):
    """Cut, overwritten, in another encoding."""
    good = {
        "modality": {"0": "T1"},
        "labels": {"0": "background", "1": "x"},
        "training": [{"image": "i/a.nii.gz", "label": "l/a.nii.gz"}],
    }
    content = json.dumps(good).encode()
    _read_json(content[:place] + noise + content[place + len(noise) :])


def _read_json(content: bytes) -> None:
    with tempfile.TemporaryDirectory() as folder:
        (Path(folder) / "dataset.json").write_bytes(content)
        try:
            dataset = read_decathlon(Path(folder))
        except DataError as error:
            assert "dataset.json" in str(error) and "\n" not in str(error)
            assert len(str(error)) < 600 + len(folder)
            return
        _check(dataset, json.loads(content))


def _check(dataset: Dataset, content: Any) -> None:
    """Nothing was dropped, and no file lies outside."""
    assert len(dataset.cases) == len(content["training"])
    assert set(dataset.labels) == {int(key) for key in content["labels"]} - {0}
    assert len(dataset.channels) == len(content["modality"])
    for case in dataset.cases:
        for relative in (*case.images, case.label):
            try:
                path = dataset.file(relative)
            except DataError:
                continue
            assert path.resolve().is_relative_to(dataset.root.resolve())


@EXAMPLES
@given(st.integers(0, 2**32 - 1), st.floats(0, 1), st.booleans())
def test_background_is_invariant_and_enclosed_parts_are_kept(seed, share, column_order):
    """Of any pattern: the order in memory does not matter, only connected background is removed."""
    random = np.random.default_rng(seed)
    volume = np.where(random.random((7, 8, 6)) < share, 0, random.integers(1, 9, (7, 8, 6)))
    turned = np.asfortranarray(volume) if column_order else volume
    value = background_value(turned)
    assert value == background_value(volume + 5) - 5 if value is not None else True
    mask = fill_enclosed(differs(turned, value))
    expected = np.ones(volume.shape, bool)
    if value is not None:
        parts, _ = label(volume == value)
        faces = [parts.take(end, axis) for axis in range(3) for end in (0, -1)]
        expected = ~np.isin(parts, np.setdiff1d(np.concatenate([f.ravel() for f in faces]), 0))
    np.testing.assert_array_equal(mask, expected)
