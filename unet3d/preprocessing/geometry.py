"""The mapping between a file's grid and the stored one: orientation, crop, spacing."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from unet3d.preprocessing.resampling import coarse_axis, resample_labels

MOST_VOXELS = 1e9  # along an axis: more than any memory holds; tiny spacings divide to infinity


@dataclass(frozen=True)
class Geometry:
    """See `Store.geometry` for the fields."""

    shape: tuple[int, ...]
    affine: list[list[float]]
    spacing: tuple[float, ...]
    axes: tuple[int, ...]
    flips: tuple[bool, ...]
    box: tuple[tuple[int, int], ...]
    cropped: tuple[int, ...]
    resampled: bool
    stored_affine: list[list[float]]

    def as_dict(self) -> dict[str, Any]:
        return asdict(self)


def orientation(affine: np.ndarray) -> tuple[tuple[int, ...], tuple[bool, ...]]:
    """(axes, flips) that turn a file's axes to the nearest of right, anterior, superior."""
    import nibabel

    turns = nibabel.orientations.io_orientation(affine)
    axes = np.argsort(turns[:, 0])
    return tuple(int(axis) for axis in axes), tuple(bool(turns[axis, 1] < 0) for axis in axes)


def orient(volume: np.ndarray, axes: tuple[int, ...], flips: tuple[bool, ...]) -> np.ndarray:
    """A view of a 3D `volume` with its axes reordered and flipped."""
    turned = volume.transpose(axes)
    return turned[tuple(slice(None, None, -1 if flip else 1) for flip in flips)]


def case_geometry(
    affine: np.ndarray,
    shape: tuple[int, ...],
    spacing: tuple[float, ...],
    file_box: tuple[slice, slice, slice],
    stored: tuple[int, ...],
) -> Geometry:
    """The geometry of a case cropped to `file_box` (on the file's axes), resampled to `stored`.

    affine, shape, spacing: of the file.
    """
    axes, flips = orientation(affine)
    box = []
    turn = np.zeros((4, 4))  # voxel of the cropped grid -> voxel of the file
    turn[3, 3] = 1
    for axis, (source, flip) in enumerate(zip(axes, flips, strict=True)):
        start, stop = file_box[source].start, file_box[source].stop
        turn[source, axis] = -1 if flip else 1
        turn[source, 3] = stop - 1 if flip else start
        size = shape[source]
        box.append((size - stop, size - start) if flip else (start, stop))
    cropped = tuple(stop - start for start, stop in box)
    ratio = np.array(cropped) / np.array(stored)
    stretch = np.diag([*ratio, 1.0])
    stretch[:3, 3] = (ratio - 1) / 2  # voxel centres move, the outer faces of the grid stay
    return Geometry(
        shape=shape[:3],
        affine=affine.tolist(),
        spacing=spacing,
        axes=axes,
        flips=flips,
        box=tuple(box),
        cropped=cropped,
        resampled=cropped != tuple(stored),
        stored_affine=(affine @ turn @ stretch).tolist(),
    )


def restore(segmentation: np.ndarray, geometry: dict[str, Any]) -> np.ndarray:
    """A segmentation mapped from the stored grid back to the file's; 0 outside the box.

    segmentation: (x, y, z) label values; resampled by label, dtype kept.
    """
    axes, flips, box = geometry["axes"], geometry["flips"], geometry["box"]
    if geometry["resampled"]:
        cropped = tuple(geometry["cropped"])
        spacing = [geometry["spacing"][axis] for axis in axes]
        sizes = zip(spacing, cropped, segmentation.shape, strict=True)
        stored = [mm * before / after for mm, before, after in sizes]
        segmentation = resample_labels(segmentation, cropped, coarse_axis(stored, spacing))
    whole = np.zeros(geometry["shape"], segmentation.dtype)
    turned = orient(whole, tuple(axes), tuple(flips))  # a view: writing to it fills `whole`
    turned[tuple(slice(start, stop) for start, stop in box)] = segmentation
    return whole


def resampled_shape(
    shape: tuple[int, ...], spacing: tuple[float, ...], target: list[float] | None
) -> tuple[int, ...]:
    """The shape at spacing `target` (mm; None: unchanged), at least one voxel per axis."""
    if target is None:
        return tuple(shape)
    sizes = zip(shape, spacing, target, strict=True)
    return tuple(max(1, round(min(n * old / new, MOST_VOXELS))) for n, old, new in sizes)
