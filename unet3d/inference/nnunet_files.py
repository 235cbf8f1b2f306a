"""Probabilities as nnU-Net v2 writes them, for `nnUNetv2_ensemble`: a .npz and a .pkl a case."""

from __future__ import annotations

import pickle
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from unet3d.datasets.itk import itk_grid
from unet3d.datasets.nifti import Header
from unet3d.datasets.volumes import read_header
from unet3d.errors import DataError
from unet3d.files import replacing
from unet3d.preprocessing.geometry import Geometry


def write_nnunet_files(
    path: Path, values: np.ndarray, names: Sequence[str], like: Path, geometry: Geometry
) -> None:
    """Write probabilities (outputs, z, y, x), the order of nnU-Net's, to `path`, a .npz file.

    It has them as `probabilities`, and `outputs`, their names, `affine` (4, 4) from voxels
    (x, y, z) of the file `like` to mm, and `spacing` (z, y, x) in mm. Beside it is a .pkl with
    `nnunet_properties`. Each file appears whole. Raises DataError where one cannot be written.
    """
    header = read_header(like)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with replacing(path.with_suffix(".pkl")) as temporary:
            temporary.write_bytes(pickle.dumps(nnunet_properties(header, geometry)))
        with replacing(path) as temporary:
            np.savez_compressed(
                temporary,
                probabilities=values,
                outputs=np.array(names),
                affine=header.affine,
                spacing=np.array(header.spacing[::-1]),
            )
    except OSError as error:
        raise DataError(f"{path}: cannot be written ({error.strerror})") from error


def with_background(values: np.ndarray) -> np.ndarray:
    """Probabilities (labels, ...) of a sigmoid each, with that of the background before them.

    nnU-Net takes one softmax for labels that do not overlap, and the largest of its values. With
    1 - the largest of the others as background that is what a threshold of 0.5 says.
    """
    return np.concatenate([1 - values.max(axis=0, keepdims=True), values])


def nnunet_properties(header: Header, geometry: Geometry) -> dict[str, Any]:
    """What nnU-Net keeps of a case: where its voxels lie in the file, in the order (z, y, x).

    sitk_stuff is of its SimpleITKIO, nibabel_stuff of its NibabelIO, so that either can write the
    segmentation of an ensemble. NibabelIOWithReorient turns axes, which these probabilities do not:
    its `reoriented_affine` is there for files alone whose axes run right, anterior and superior.
    """
    affine = np.array(header.affine, np.float64)
    spacing, origin, direction = itk_grid(affine)
    stuff: dict[str, Any] = {"original_affine": affine}
    if geometry.axes == (0, 1, 2) and not any(geometry.flips):
        stuff["reoriented_affine"] = affine
    box = _box_in_file(geometry)[::-1]
    return {
        "sitk_stuff": {"spacing": spacing, "origin": origin, "direction": direction},
        "nibabel_stuff": stuff,
        "spacing": list(spacing[::-1]),
        "shape_before_cropping": tuple(int(size) for size in header.shape[2::-1]),
        "bbox_used_for_cropping": box,
        "shape_after_cropping_and_before_resampling": tuple(stop - start for start, stop in box),
    }


def _box_in_file(geometry: Geometry) -> list[list[int]]:
    """[start, stop] of what was kept, on each axis (x, y, z) of the file."""
    found = [[0, 0], [0, 0], [0, 0]]
    for (start, stop), axis, flip in zip(geometry.box, geometry.axes, geometry.flips, strict=True):
        size = geometry.shape[axis]
        found[axis] = [int(size - stop), int(size - start)] if flip else [int(start), int(stop)]
    return found
