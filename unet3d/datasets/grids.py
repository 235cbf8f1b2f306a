"""Whether two files lie on each other: the same grid, within a part of a voxel."""

from __future__ import annotations

from itertools import product
from pathlib import Path

import numpy as np

from unet3d.datasets.dataset import Case, Dataset
from unet3d.datasets.nifti import Header, check_not_slice
from unet3d.datasets.volumes import read_header
from unet3d.errors import DataError

TOLERANCE = 0.25  # voxels, at the corner that lies furthest away: writers round their affines


def voxel_distance(header: Header, expected: Header) -> float:
    """How far apart two grids of one shape put a voxel at most, in voxels of `expected`."""
    corners = np.array(list(product(*((0, size - 1) for size in expected.shape[:3]), (1,))))
    apart = corners @ (header.affine - expected.affine).T
    with np.errstate(over="ignore", invalid="ignore"):
        voxels = apart[:, :3] @ np.linalg.inv(expected.affine[:3, :3]).T
    return float(np.abs(voxels).max()) if np.isfinite(voxels).all() else float("inf")


def check_same_grid(
    path: Path, header: Header, first: Path, expected: Header, geometry: str, setting: str
) -> None:
    """Raise DataError where a file's grid (x, y, z) is not that of the file `first`.

    geometry: strict, or image, by which the same shape is enough; setting: its key, to be typed.
    """
    if header.shape[:3] != expected.shape[:3]:
        raise DataError(f"{path}: shape {header.shape} differs from {expected.shape} of {first}")
    distance = voxel_distance(header, expected)
    if geometry == "strict" and distance > TOLERANCE:
        raise DataError(
            f"{path}: its affine differs from that of {first} by up to {distance:.3g} voxels; "
            f"{setting}=image takes the geometry of the image for both"
        )


def check_headers(dataset: Dataset, case: Case, geometry: str) -> Header:
    """The header of a case's first image. Raises DataError unless all of its files match it.

    geometry: `data.geometry`.
    """
    first, *others = dataset.images(case)
    label_path = dataset.file(case.label)
    image = read_header(first)
    headers = [image]
    for path in others:
        headers.append(read_header(path))
        check_same_grid(path, headers[-1], first, image, geometry, "data.geometry")
    label = read_header(label_path)
    check_not_slice(first, image)
    channels = sum(h.shape[3] if len(h.shape) == 4 else 1 for h in headers)
    if channels != len(dataset.channels):
        source = dataset.description
        listed = "data.pattern" if source == dataset.root else source.name
        what = f"shape {image.shape} holds" if not others else f"its {len(headers)} files hold"
        raise DataError(
            f"{first}: {what} {channels} channels; {listed} names {len(dataset.channels)}: "
            f"{', '.join(dataset.channels)}"
        )
    if len(label.shape) != 3:
        raise DataError(f"{label_path}: a label must be 3D, not of shape {label.shape}")
    check_same_grid(label_path, label, first, image, geometry, "data.geometry")
    return image
