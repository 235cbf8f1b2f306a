"""One case: from its NIfTI files to its folder in the store."""

from __future__ import annotations

import json
import logging
import math
import os
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import numpy as np

from unet3d.config.schema import DataConfig
from unet3d.datasets.dataset import Case, Dataset
from unet3d.datasets.grids import check_headers
from unet3d.datasets.label_files import read_labels
from unet3d.datasets.nifti import Header, check_memory, to_file_units
from unet3d.datasets.volumes import read_voxels, sequences
from unet3d.errors import DataError
from unet3d.preprocessing.background import (
    background_value,
    differs,
    fill_enclosed,
    foreground_box,
)
from unet3d.preprocessing.checksum import file_crc32, with_checksum
from unet3d.preprocessing.fingerprint import Intensities, case_record, measure_intensities
from unet3d.preprocessing.geometry import (
    Geometry,
    case_geometry,
    orient,
    orientation,
    resampled_shape,
)
from unet3d.preprocessing.normalize import CONSTANT, rescale, standardise
from unet3d.preprocessing.resampling import coarse_axis, resample_image, resample_labels
from unet3d.preprocessing.samples import foreground_index, labelled_samples
from unet3d.preprocessing.store import CASE_FILES, StoredCase

log = logging.getLogger(__name__)
FLOAT16_MOST = 65000.0
CHUNK_VOXELS, BLOCK_VOXELS = 64, 32  # per axis; all channels of a voxel stay together


def build_case(dataset: Dataset, case: Case, data: DataConfig, folder: Path) -> StoredCase:
    """Preprocess a case into the empty `folder`; raises DataError with the file and the reason."""
    header = check_headers(dataset, case, data.geometry)
    axes, flips = orientation(header.affine)
    label, values = _read_label(dataset, case)
    paths = dataset.images(case)
    channels = [channel for path in paths for channel in read_channels(path)]
    image, box, geometry, intensities = standard_image(paths[0], channels, data, dataset.channels)
    samples = labelled_samples(channels, label, data.normalize, dataset.ignore, case.id)
    label = np.ascontiguousarray(orient(label[box], axes, flips))
    shape = (image.shape[0], image.shape[1], image.shape[2])
    inside = set(np.unique(label).tolist())
    stored_label = resample_labels(label, shape, _coarse(header, data))
    foreground, counts = foreground_index(stored_label, case.id, dataset.ignore)
    if values and not values & inside:
        raise DataError(f"{dataset.file(case.label)}: no labelled voxel lies inside the image")
    for lost, why in (
        (values - inside, "lies outside the image"),
        ((values & inside) - set(foreground), "is too small for data.spacing and is lost"),
    ):
        if lost := lost - {dataset.ignore}:
            log.warning("%s: label %s %s", case.id, sorted(lost), why)
    stored = StoredCase(
        case.id, shape, len(channels), stored_spacing(geometry, shape), tuple(sorted(foreground))
    )
    description = {
        "case": asdict(stored),
        "geometry": geometry.as_dict(),
        "fingerprint": case_record(intensities, counts, samples),
    }
    _write_case_files(folder, image, stored_label, foreground, description)
    return stored


def read_channels(path: Path) -> list[tuple[np.ndarray, Header]]:
    """The sequences (x, y, z) of a file, each with the file's header. Raises DataError."""
    voxels, header = read_voxels(path)
    return [(part, header) for part in sequences(voxels)]


def standard_image(
    path: Path,
    channels: list[tuple[np.ndarray, Header]],
    data: DataConfig,
    names: tuple[str, ...],
) -> tuple[np.ndarray, tuple[slice, slice, slice], Geometry, list[Intensities]]:
    """A scan as it is stored: reoriented, cropped to the foreground, normalised, resampled.

    channels: the voxels (x, y, z) of each sequence with the header of its file; path: for errors.
    Returns the image (x, y, z, channels) in data.dtype, the box on the file's axes, the geometry
    that leads back, and the intensities of each channel before normalisation. CT keeps its units,
    see unet3d.preprocessing.scales.
    Raises DataError for a scan that is empty or not finite.
    """
    header = channels[0][1]
    axes, flips = orientation(header.affine)
    values = [background_value(voxels) for voxels, _ in channels]
    found = zip(channels, values, strict=True)
    box = foreground_box(differs(voxels, value) for (voxels, _), value in found)
    if box is None:
        raise DataError(f"{path}: empty: every voxel is background")
    cropped = orient(channels[0][0][box], axes, flips).shape
    spacing = tuple(header.spacing[axis] for axis in axes)
    x, y, z = resampled_shape(cropped, spacing, data.spacing)
    shape = (x, y, z)
    check_memory(path, math.prod(shape) * 2 * (len(channels) + 2))
    image = np.empty((*shape, len(channels)), _dtype(data.dtype))
    intensities, methods = [], _methods(data, len(channels))
    for index, ((voxels, own), value) in enumerate(zip(channels, values, strict=True)):
        part = voxels[box]
        name, inside = f"{path}: channel {names[index]}", fill_enclosed(differs(part, value))
        if methods[index] == "zscore":
            standard, measured = _standardised(name, part, own, inside)
        else:
            standard, measured = _as_chosen(name, part, own, inside, methods[index])
        intensities.append(measured)
        if shape == cropped:  # cast before transposing, which then moves half the bytes
            image[..., index] = orient(standard.astype(image.dtype, order="K"), axes, flips)
        else:
            turned = orient(standard, axes, flips)
            image[..., index] = resample_image(turned, shape, _coarse(header, data))
    geometry = case_geometry(header.affine, header.shape, header.spacing, box, shape)
    return image, box, geometry, intensities


def _coarse(header: Header, data: DataConfig) -> int | None:
    """The stored axis that is resampled apart, see `coarse_axis`."""
    axes, _ = orientation(header.affine)
    spacing = [header.spacing[axis] for axis in axes]
    return coarse_axis(spacing, data.spacing or spacing)


def _standardised(
    name: str, voxels: np.ndarray, header: Header, mask: np.ndarray
) -> tuple[np.ndarray, Intensities]:
    """The z-scores of a channel, in float64 only where float32 cannot hold its intensities."""
    standard = to_file_units(voxels, header)
    measured = standardise(standard, mask)
    if measured is None:
        standard = to_file_units(voxels, header, np.float64)
        measured = standardise(standard, mask)
        if measured is None:
            wrong = np.count_nonzero(~np.isfinite(to_file_units(voxels, header, np.float64)))
            raise DataError(f"{name}: {wrong} voxels are NaN or infinite")
        if 1e-12 * abs(measured.mean) < measured.sd <= CONSTANT * abs(measured.mean):
            log.warning(
                "%s: varies by a millionth of its mean or less, %g +- %g, and is taken as constant",
                name,
                measured.mean,
                measured.sd,
            )
        standard = standard.astype(np.float32, order="K")
    return standard, measured


def _methods(data: DataConfig, channels: int) -> list[str]:
    """The method of each sequence; z-scores in settings of versions that knew nothing else."""
    return data.normalize if isinstance(data.normalize, list) else ["zscore"] * channels


def _as_chosen(
    name: str, voxels: np.ndarray, header: Header, mask: np.ndarray, method: str
) -> tuple[np.ndarray, Intensities]:
    """A channel by percentiles, or in the file's units: what 16 bits hold of them."""
    values = to_file_units(voxels, header)
    wrong = np.count_nonzero(~np.isfinite(values))
    if wrong:
        raise DataError(f"{name}: {wrong} voxels are NaN or infinite")
    inside = values.T[mask.T]
    measured = Intensities()
    if inside.size:
        mean = float(inside.mean(dtype=np.float64))
        measured = replace(measure_intensities(inside, mean), sd=float(inside.std()))
    if method == "percentile":
        rescale(values, mask, measured.p0_5, measured.p99_5)
    elif method == "none" and (most := float(np.abs(values).max())) > FLOAT16_MOST:
        raise DataError(
            f"{name}: values up to {most:g} do not fit in 16 bits; choose another data.normalize"
        )
    else:  # metal in a CT is clipped for good when it is read
        np.clip(values, -FLOAT16_MOST, FLOAT16_MOST, out=values)
    return values, measured


def stored_spacing(geometry: Geometry, shape: tuple[int, ...]) -> tuple[float, float, float]:
    """Spacing in mm of the stored grid, whose shape is `shape`."""
    dx, dy, dz = (
        geometry.spacing[axis] * before / after
        for axis, before, after in zip(geometry.axes, geometry.cropped, shape, strict=True)
    )
    return dx, dy, dz


def _read_label(dataset: Dataset, case: Case) -> tuple[np.ndarray, set[int]]:
    """uint8 labels in the file's memory order, and their foreground values, all checked."""
    path = dataset.file(case.label)
    labels, _ = read_labels(path)
    found = set(np.unique(labels.T[labels.T != 0]).tolist())  # transposed, to run along memory
    unknown = sorted(found - set(dataset.labels) - {dataset.ignore})
    if unknown:
        known = ", ".join(map(str, [0, *dataset.labels]))
        raise DataError(
            f"{path}: label value {unknown[0]} is not in {dataset.label_source}, which names "
            f"{known}"
        )
    return labels, found


def _dtype(name: str) -> Any:
    if name == "bfloat16":
        import ml_dtypes

        return ml_dtypes.bfloat16
    return np.float16


def _write_case_files(
    folder: Path,
    image: np.ndarray,
    label: np.ndarray,
    foreground: dict[int, np.ndarray],
    description: dict[str, Any],
) -> None:
    bits = image if image.dtype == np.float16 else image.view(np.uint16)  # Blosc2 lacks bfloat16
    write_array(folder / "image.b2nd", bits)
    write_array(folder / "label.b2nd", label)
    arrays: dict[str, Any] = {str(value): voxels for value, voxels in foreground.items()}
    np.savez(folder / "foreground.npz", **arrays)
    files = {}
    for name in CASE_FILES[:-1]:
        path = folder / name
        files[name] = {"bytes": path.stat().st_size, "crc32": file_crc32(path)}
    text = json.dumps(with_checksum({**description, "files": files}), indent=1)
    (folder / "case.json").write_text(text)


def write_array(path: Path, array: np.ndarray, codec: str = "LZ4", level: int = 5) -> None:
    """Write (x, y, z) or (x, y, z, channels) as Blosc2, in cubic chunks and blocks."""
    import blosc2

    tail = array.shape[3:]
    blosc2.asarray(
        array,
        urlpath=os.fspath(path),
        mode="w",
        contiguous=True,
        chunks=(*(min(CHUNK_VOXELS, size) for size in array.shape[:3]), *tail),
        blocks=(*(min(BLOCK_VOXELS, size) for size in array.shape[:3]), *tail),
        cparams=blosc2.CParams(
            codec=blosc2.Codec[codec],
            clevel=level,
            filters=[blosc2.Filter.SHUFFLE],
            nthreads=1,  # cases are already built in parallel
        ),
    )
