from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from tests.layout_folders import save_itk
from tests.nifti_files import save, volumes
from unet3d.datasets.itk import data_file
from unet3d.datasets.volumes import read_header, read_voxels
from unet3d.errors import DataError

OBLIQUE = np.array(
    [[0.0, -2.0, 0.0, 4.0], [0.9, 0.0, 0.43589, -5.0], [-0.43589, 0.0, 0.9, 6.0], [0, 0, 0, 1]]
)


@pytest.mark.parametrize("suffix", [".mha", ".mhd", ".nrrd", ".nhdr"])
def test_a_volume_has_the_grid_and_voxels_of_its_nifti(tmp_path: Path, suffix: str) -> None:
    """ITK's axes run left and back, NIfTI's right and front: the same scan is at the same place."""
    image, _ = volumes(0, channels=1)
    save(tmp_path / "a.nii.gz", image, OBLIQUE)
    save_itk(tmp_path / f"a{suffix}", image, OBLIQUE)
    voxels, header = read_voxels(tmp_path / f"a{suffix}")
    expected, nifti = read_voxels(tmp_path / "a.nii.gz")
    np.testing.assert_array_equal(voxels, expected)
    np.testing.assert_allclose(header.affine, nifti.affine, atol=1e-5)
    assert header.shape == nifti.shape and header.dtype == nifti.dtype
    assert read_header(tmp_path / f"a{suffix}").shape == header.shape


def test_components_of_a_vector_are_channels(tmp_path: Path) -> None:
    """As of a colour image, or of sequences that were put together."""
    image, _ = volumes(0, channels=3)
    save_itk(tmp_path / "a.mha", image)
    voxels, header = read_voxels(tmp_path / "a.mha")
    np.testing.assert_array_equal(voxels, image)
    assert header.shape == image.shape


@pytest.mark.parametrize("suffix", [".mhd", ".nhdr"])
def test_a_header_names_the_file_of_its_voxels(tmp_path: Path, suffix: str) -> None:
    """Which counts when it is asked whether the data have changed."""
    save_itk(tmp_path / f"a{suffix}", volumes(0, channels=1)[0])
    path = data_file(tmp_path / f"a{suffix}")
    assert path is not None and path.is_file() and path.suffix.startswith((".raw", ".zraw"))


@pytest.mark.parametrize(
    ("content", "message"),
    [(b"", "an empty file"), (b"ObjectType = Image\nNDims = 3\n", "cannot be read")],
)
def test_a_damaged_file_is_one_clear_error(tmp_path: Path, content: bytes, message: str) -> None:
    """In one line, with the file's name."""
    (tmp_path / "a.mha").write_bytes(content)
    with pytest.raises(DataError, match=f"a.mha: {message}") as caught:
        read_voxels(tmp_path / "a.mha")
    assert "\n" not in str(caught.value)
