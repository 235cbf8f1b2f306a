"""Resampling against nnU-Net's own on the same arrays, from benchmarks/resampling_nnunet.py."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from tests.nifti_files import LPS, config, save, volumes, write_dataset
from unet3d.preprocessing.geometry import restore
from unet3d.preprocessing.preprocess import preprocess
from unet3d.preprocessing.resampling import coarse_axis, resample_image, resample_labels

ARRAYS = np.load(Path(__file__).with_name("nnunet_resampled.npz"))
CASES = ("isotropic", "to_finer_slices", "coarse_first", "to_coarse", "two_coarse")


@pytest.mark.parametrize("name", CASES)
def test_images_equal_those_of_nnunet(name: str) -> None:
    """Cubic, the coarse axis apart, and never beyond the range of the slice."""
    expected = ARRAYS[f"{name}_image_nnunet"]
    found = resample_image(
        ARRAYS[f"{name}_image"], expected.shape, coarse_axis(*ARRAYS[f"{name}_spacing"].tolist())
    )
    assert found.dtype == np.float32
    np.testing.assert_allclose(found, expected, atol=2e-5)


@pytest.mark.parametrize("name", CASES)
def test_labels_equal_those_of_nnunet(name: str) -> None:
    """Linear masks of which the largest wins, the coarse axis apart."""
    label, expected = ARRAYS[f"{name}_label"], ARRAYS[f"{name}_label_nnunet"]
    found = resample_labels(label, expected.shape, coarse_axis(*ARRAYS[f"{name}_spacing"].tolist()))
    assert found.dtype == label.dtype and set(np.unique(found)) == {0, 1, 2, 3}
    np.testing.assert_array_equal(found, expected)


def test_the_coarse_axis() -> None:
    """That of the spacing before, else of the one after; none of two that are equally coarse."""
    assert coarse_axis((1, 1, 3), (1, 1, 1)) is None  # not above 3
    assert coarse_axis((1, 1, 3.1), (5, 1, 1)) == 2
    assert coarse_axis((1, 1, 1), (5, 1, 1)) == 0
    assert coarse_axis((0.2, 1, 1), (1, 1, 4)) is None


def test_one_voxel_of_depth_and_labels_that_are_too_small() -> None:
    """A single slice can become several, and a voxel of a label can be lost to its surroundings."""
    slab = np.arange(12, dtype=np.float32).reshape(4, 3, 1)
    np.testing.assert_allclose(resample_image(slab, (4, 3, 2)), slab.repeat(2, axis=2), atol=1e-5)
    label = np.zeros((8, 8, 8), np.uint8)
    label[4, 4, 4] = 255
    assert not resample_labels(label, (4, 4, 4)).any()
    label[2:4, 2:4, 2:4] = 7
    assert (resample_labels(label, (24, 24, 24)) == 7).sum() == 6**3 - 8 * 7  # rounded corners


def test_stores_that_were_resampled_otherwise_are_not_mistaken(tmp_path, caplog) -> None:
    """Slices of 4 mm are apart; a label that is lost is named; without a spacing, keys stay."""
    root, affine = write_dataset(tmp_path / "raw", cases=1), LPS @ np.diag([1, 1, 2, 1])
    image, label = volumes(0)
    save(root / "imagesTr" / "case_0.nii.gz", image, affine)
    save(root / "labelsTr" / "case_0.nii.gz", label, affine)
    kept = preprocess(config(tmp_path)).image("case_0")
    store = preprocess(config(tmp_path, spacing=[1.0, 1.0, 2.0]))
    found = store.image("case_0")
    np.testing.assert_array_equal(found, kept.repeat(2, axis=2))  # nearest: each slice twice
    np.testing.assert_array_equal(restore(store.label("case_0"), store.geometry("case_0")), label)
    preprocess(config(tmp_path, spacing=[2.0, 2.0, 4.0]))
    assert "label [2] is too small for data.spacing and is lost" in caplog.text
