"""Image files of any format that is read: headers, voxels and scans."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from unet3d.datasets import nifti
from unet3d.datasets.image_files import ITK_SUFFIXES
from unet3d.datasets.nifti import Header, check_not_slice


def read_header(path: Path) -> Header:
    """The header of an image, also of the DICOM series in a folder.

    Raises DataError when it is missing or unreadable.
    """
    if path.name.endswith(ITK_SUFFIXES):
        from unet3d.datasets.itk import read_itk_header

        return read_itk_header(path)
    if path.is_dir():
        from unet3d.datasets.dicom import read_series

        return read_series(path).header
    return nifti.read_header(path)


def read_voxels(path: Path) -> tuple[np.ndarray, Header]:
    """The voxels (x, y, z[, channels]), read-only, in the file's own type, and the header.

    Of a folder those of its DICOM series. Raises DataError for a file that is truncated, damaged
    or too large for this machine.
    """
    if path.name.endswith(ITK_SUFFIXES):
        from unet3d.datasets.itk import read_itk_voxels

        return read_itk_voxels(path)
    if path.is_dir():
        from unet3d.datasets.dicom import read_dicom

        return read_dicom(path)
    return nifti.read_voxels(path)


def read_scan(path: Path) -> tuple[np.ndarray, Header]:
    """`read_voxels` for a scan to segment or show. Raises DataError for a single slice, too."""
    voxels, header = read_voxels(path)
    check_not_slice(path, header)
    return voxels, header


def sequences(voxels: np.ndarray) -> list[np.ndarray]:
    """Views (x, y, z) of the sequences of a file's voxels (x, y, z[, channels])."""
    return [voxels] if voxels.ndim == 3 else [voxels[..., c] for c in range(voxels.shape[3])]
