"""The mapping between a file's grid and the stored one: orientation, crop, spacing."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from unet3d.preprocessing.resampling import coarse_axis, resample_labels, resample_linear

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
    if geometry["resampled"]:
        segmentation = resample_labels(segmentation, *_to_cropped(segmentation.shape, geometry))
    return _in_file(segmentation, geometry, 0)


def restore_values(values: np.ndarray, geometry: dict[str, Any], outside: float) -> np.ndarray:
    """Values (x, y, z) mapped from the stored grid back to the file's, linearly; float32.

    outside: the value beyond the box.
    """
    values = values.astype(np.float32)
    if geometry["resampled"]:
        values = resample_linear(values, *_to_cropped(values.shape, geometry))
    return _in_file(values, geometry, outside)


def stored_labels(
    labels: np.ndarray, geometry: dict[str, Any], shape: tuple[int, ...]
) -> np.ndarray:
    """Labels (x, y, z) of a file on the stored grid, whose shape is `shape`."""
    axes, flips, box = geometry["axes"], geometry["flips"], geometry["box"]
    turned = orient(labels, tuple(axes), tuple(flips))
    cropped = np.ascontiguousarray(turned[tuple(slice(start, stop) for start, stop in box)])
    spacing = [geometry["spacing"][axis] for axis in axes]
    sizes = zip(spacing, cropped.shape, shape, strict=True)
    return resample_labels(
        cropped, shape, coarse_axis(spacing, [mm * old / new for mm, old, new in sizes])
    )


def _to_cropped(
    stored: tuple[int, ...], geometry: dict[str, Any]
) -> tuple[tuple[int, ...], int | None]:
    """The shape of the box, and the axis that is resampled apart on the way back to it."""
    cropped = tuple(geometry["cropped"])
    spacing = [geometry["spacing"][axis] for axis in geometry["axes"]]
    sizes = zip(spacing, cropped, stored, strict=True)
    before = [mm * size / now for mm, size, now in sizes]
    return cropped, coarse_axis(before, spacing)


def _in_file(values: np.ndarray, geometry: dict[str, Any], outside: float) -> np.ndarray:
    """What lies in the box, turned as in the file and amid `outside`."""
    axes, flips, box = geometry["axes"], geometry["flips"], geometry["box"]
    whole = np.full(geometry["shape"], outside, values.dtype)
    turned = orient(whole, tuple(axes), tuple(flips))  # a view: writing to it fills `whole`
    turned[tuple(slice(start, stop) for start, stop in box)] = values
    return whole


def resampled_shape(
    shape: tuple[int, ...], spacing: tuple[float, ...], target: list[float] | None
) -> tuple[int, ...]:
    """The shape at spacing `target` (mm; None: unchanged), at least one voxel per axis."""
    if target is None:
        return tuple(shape)
    sizes = zip(shape, spacing, target, strict=True)
    return tuple(max(1, round(min(n * old / new, MOST_VOXELS))) for n, old, new in sizes)
