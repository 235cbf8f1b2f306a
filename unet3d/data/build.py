"""One case: from its NIfTI files to its folder in the store."""

from __future__ import annotations

import json
import logging
import os
import zlib
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np

from unet3d.config import DataConfig
from unet3d.data.checksum import file_crc32, sealed
from unet3d.data.decathlon import Case, Dataset
from unet3d.data.errors import DataError
from unet3d.data.fingerprint import Intensities, case_record
from unet3d.data.geometry import Geometry, describe, orient, orientation
from unet3d.data.resample import resample, resampled_shape
from unet3d.data.standardise import background_value, foreground_box, standardise
from unet3d.data.store import CASE_FILES, StoredCase
from unet3d.data.volume import Header, check_headers, read_voxels, scaled

LOG = logging.getLogger(__name__)
SAMPLE = 10_000  # foreground voxels kept a label
CHUNK, BLOCK = 64, 32  # voxels an axis; all channels of a voxel stay together


def build_case(dataset: Dataset, case: Case, data: DataConfig, folder: Path) -> StoredCase:
    """Preprocess a case into the empty `folder`; DataError naming the file and the reason."""
    header, _ = check_headers(dataset, case)
    axes, flips = orientation(header.affine)
    label, values = _read_label(dataset, case)
    image_path = dataset.file(case.image)
    voxels, _ = read_voxels(image_path)
    channels = [voxels] if voxels.ndim == 3 else [voxels[..., c] for c in range(voxels.shape[3])]
    image, box, geometry, intensities = standard_image(
        image_path, [(channel, header) for channel in channels], data, dataset.channels
    )
    label = orient(label[box], axes, flips)
    shape = (image.shape[0], image.shape[1], image.shape[2])
    stored_label = np.ascontiguousarray(resample(label, shape, order=0))
    foreground, counts = foreground_index(stored_label, case.id)
    if not foreground:
        raise DataError(f"{dataset.file(case.label)}: no labelled voxel is left inside the image")
    lost = values - set(foreground)
    if lost:
        LOG.warning("%s: label %s lies outside the image", case.id, sorted(lost))
    stored = StoredCase(
        case.id, shape, len(channels), stored_spacing(geometry, shape), tuple(sorted(foreground))
    )
    described = {
        "case": asdict(stored),
        "geometry": geometry.as_dict(),
        "fingerprint": case_record(intensities, counts),
    }
    _write(folder, image, stored_label, foreground, described)
    return stored


def standard_image(
    path: Path,
    channels: list[tuple[np.ndarray, Header]],
    data: DataConfig,
    names: tuple[str, ...],
) -> tuple[np.ndarray, tuple[slice, slice, slice], Geometry, list[Intensities]]:
    """A scan as the network sees it: turned, cropped to what is not background, z-scored.

    channels: the voxels of each sequence (x, y, z) with the header of its file; path: for errors.
    Returns (x, y, z, channels) of data.dtype, the box on the file's axes, the way back, and what
    the values of each channel were.
    Raises DataError for a scan that is empty or not finite.
    """
    header = channels[0][1]
    axes, flips = orientation(header.affine)
    box = foreground_box([voxels for voxels, _ in channels])
    if box is None:
        raise DataError(f"{path}: empty: every voxel is background")
    cropped = orient(channels[0][0][box], axes, flips).shape
    spacing = tuple(header.spacing[axis] for axis in axes)
    x, y, z = resampled_shape(cropped, spacing, data.spacing)
    shape = (x, y, z)
    image = np.empty((*shape, len(channels)), _dtype(data.dtype))
    intensities = []
    for index, (voxels, own) in enumerate(channels):
        value = background_value(voxels)
        part = voxels[box]
        mask = part != part.dtype.type(value)
        standard = scaled(part, own)
        measured = standardise(standard, mask)
        if measured is None:
            raise DataError(f"{path}: NaN or Inf in channel {names[index]}")
        intensities.append(measured)
        if shape == cropped:  # cast before the transposition: it then moves half the bytes
            image[..., index] = orient(standard.astype(image.dtype, order="K"), axes, flips)
        else:
            image[..., index] = resample(orient(standard, axes, flips), shape, order=1)
    geometry = describe(header.affine, header.shape, header.spacing, box, shape)
    return image, box, geometry, intensities


def stored_spacing(geometry: Geometry, shape: tuple[int, ...]) -> tuple[float, float, float]:
    """Spacing in mm of the stored grid of `shape`."""
    dx, dy, dz = (
        geometry.spacing[axis] * before / after
        for axis, before, after in zip(geometry.axes, geometry.cropped, shape, strict=True)
    )
    return dx, dy, dz


def foreground_index(
    label: np.ndarray, case_id: str
) -> tuple[dict[int, np.ndarray], dict[int, int]]:
    """Two mappings of each label value in a case.

    To sorted (n, 3) voxel indices, at most SAMPLE of each, the same every time; and to the number
    of its voxels.
    """
    flat = np.flatnonzero(label)
    values = label.reshape(-1)[flat]
    kind = np.int16 if max(label.shape) <= np.iinfo(np.int16).max else np.int32
    found, counts = {}, {}
    for value in np.unique(values).tolist():
        voxels = flat[values == value]
        counts[value] = len(voxels)
        if len(voxels) > SAMPLE:
            seed = [zlib.crc32(case_id.encode()), value]
            random = np.random.Generator(np.random.Philox(np.random.SeedSequence(seed)))
            voxels = np.sort(random.choice(voxels, SAMPLE, replace=False))
        found[value] = np.stack(np.unravel_index(voxels, label.shape), axis=1).astype(kind)
    return found, counts


def _read_label(dataset: Dataset, case: Case) -> tuple[np.ndarray, set[int]]:
    """uint8 labels in the file's order, and the foreground values in them, all checked."""
    path = dataset.file(case.label)
    voxels, header = read_voxels(path)
    if header.slope != 1.0 or header.intercept != 0.0:
        voxels = scaled(voxels, header)
    inside = voxels.T[voxels.T != 0]  # transposed: along memory. A few percent of the volume
    found = np.unique(inside).tolist()
    if not found:
        raise DataError(f"{path}: empty label: no foreground voxel")
    for value in found:
        if value != int(value) if np.isfinite(value) else True:
            raise DataError(f"{path}: label value {value:g} is not a whole number")
        if int(value) not in dataset.labels:
            known = ", ".join(map(str, [0, *dataset.labels]))
            raise DataError(
                f"{path}: label value {int(value)} is not in dataset.json, which names {known}"
            )
    return voxels.astype(np.uint8, order="K", copy=False), {int(value) for value in found}


def _dtype(name: str) -> Any:
    if name == "bfloat16":
        import ml_dtypes

        return ml_dtypes.bfloat16
    return np.float16


def _write(
    folder: Path,
    image: np.ndarray,
    label: np.ndarray,
    foreground: dict[int, np.ndarray],
    described: dict[str, Any],
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
    text = json.dumps(sealed({**described, "files": files}), indent=1)
    (folder / "case.json").write_text(text)


def write_array(path: Path, array: np.ndarray, codec: str = "LZ4", level: int = 5) -> None:
    """Write (x, y, z) or (x, y, z, channels) as Blosc2, in cubes of CHUNK and BLOCK."""
    import blosc2

    tail = array.shape[3:]
    blosc2.asarray(
        array,
        urlpath=os.fspath(path),
        mode="w",
        contiguous=True,
        chunks=(*(min(CHUNK, size) for size in array.shape[:3]), *tail),
        blocks=(*(min(BLOCK, size) for size in array.shape[:3]), *tail),
        cparams=blosc2.CParams(
            codec=blosc2.Codec[codec],
            clevel=level,
            filters=[blosc2.Filter.SHUFFLE],
            nthreads=1,  # cases are built side by side already
        ),
    )
