"""NIfTI files: headers that are checked without reading voxels, and voxels without a copy."""

from __future__ import annotations

import gzip
import zlib
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from unet3d.data.decathlon import Case, Dataset
from unet3d.data.errors import DataError

HEADER_BYTES = 540  # of NIfTI-2; NIfTI-1 needs 348
AFFINE_TOLERANCE = 1e-2  # mm: writers round the affine to float32, or rebuild it from quaternions


@dataclass(frozen=True)
class Header:
    """A file's grid: `shape` of 3 or 4 axes, `affine` from voxel to mm (RAS+)."""

    shape: tuple[int, ...]
    affine: np.ndarray
    dtype: np.dtype
    slope: float
    intercept: float
    offset: int  # of the first voxel, in bytes

    @property
    def spacing(self) -> tuple[float, float, float]:
        lengths = np.sqrt((self.affine[:3, :3] ** 2).sum(axis=0))
        dx, dy, dz = lengths.round(5).tolist()  # files keep float32: 2.4000001 means 2.4
        return dx, dy, dz


def read_header(path: Path) -> Header:
    """The header of a .nii or .nii.gz file; DataError when it is missing or unreadable."""
    try:
        opener: Any = gzip.open if path.suffix == ".gz" else open
        with opener(path, "rb") as file:
            start = file.read(HEADER_BYTES)
    except FileNotFoundError as error:
        raise DataError(f"{path}: no such file") from error
    except (OSError, EOFError, zlib.error) as error:
        raise DataError(f"{path}: unreadable header ({error})") from error
    return _parse_header(path, start)


def check_headers(dataset: Dataset, case: Case) -> tuple[Header, Header]:
    """The headers of a case's image and label, once they agree with each other; else DataError."""
    image_path, label_path = dataset.file(case.image), dataset.file(case.label)
    image, label = read_header(image_path), read_header(label_path)
    channels = image.shape[3] if len(image.shape) == 4 else 1
    if channels != len(dataset.channels):
        raise DataError(
            f"{image_path}: shape {image.shape} holds {channels} channels; "
            f"dataset.json names {len(dataset.channels)}"
        )
    if len(label.shape) != 3:
        raise DataError(f"{label_path}: a label must be 3D, not of shape {label.shape}")
    if label.shape != image.shape[:3]:
        raise DataError(
            f"{label_path}: shape {label.shape} differs from the image's {image.shape[:3]}"
        )
    distance = float(np.abs(label.affine - image.affine).max())
    if distance > AFFINE_TOLERANCE:
        raise DataError(
            f"{label_path}: its affine differs from the image's by up to {distance:.3g} mm"
        )
    return image, label


def read_voxels(path: Path) -> tuple[np.ndarray, Header]:
    """The voxels as a read-only view in the file's own order and type, and the header.

    DataError when the file is truncated or damaged.
    """
    try:
        raw = path.read_bytes()
    except OSError as error:
        raise DataError(f"{path}: {error.strerror}") from error
    compressed = path.suffix == ".gz"
    data = _gunzip(path, raw) if compressed else raw
    header = _parse_header(path, data[:HEADER_BYTES])
    needed = header.offset + int(np.prod(header.shape)) * header.dtype.itemsize
    if len(data) < needed and compressed:
        data = _gunzip_members(path, raw)
    if len(data) < needed:
        raise DataError(f"{path}: truncated: {len(data)} bytes of the {needed} in its header")
    return np.ndarray(header.shape, header.dtype, data, header.offset, order="F"), header


def read_scan(path: Path) -> tuple[np.ndarray, Header]:
    """read_voxels of what is to be segmented or shown; DataError for a slice as well."""
    voxels, header = read_voxels(path)
    if min(header.shape[:3]) < 2:
        raise DataError(f"{path}: shape {header.shape} is of a slice; a scan must be 3D")
    return voxels, header


def scaled(voxels: np.ndarray, header: Header) -> np.ndarray:
    """float32 voxels in the units of the file: slope and intercept applied, order kept."""
    values: np.ndarray = voxels.astype(np.float32, order="K")
    if header.slope != 1.0:
        values *= np.float32(header.slope)
    if header.intercept != 0.0:
        values += np.float32(header.intercept)
    return values


def _gunzip(path: Path, raw: bytes) -> bytes:
    from zlib_ng import zlib_ng

    if len(raw) < 18:
        raise DataError(f"{path}: truncated: only {len(raw)} bytes")
    length = min(int.from_bytes(raw[-4:], "little"), 1100 * len(raw))  # deflate's best ratio: 1032
    try:
        return zlib_ng.decompress(raw, 31, max(length, 1))
    except zlib_ng.error as error:  # type: ignore[misc]  # its stub is loose
        raise DataError(f"{path}: truncated or damaged .gz ({error})") from error


def _gunzip_members(path: Path, raw: bytes) -> bytes:
    """Files written in parts (bgzip) hold several gzip streams, one after the other."""
    try:
        return gzip.decompress(raw)
    except (OSError, EOFError, zlib.error) as error:
        raise DataError(f"{path}: truncated or damaged .gz ({error})") from error


def _parse_header(path: Path, start: bytes) -> Header:
    import nibabel
    from nibabel.spatialimages import HeaderDataError
    from nibabel.wrapstruct import WrapStructError

    kind: Any = nibabel.Nifti1Header
    if int.from_bytes(start[:4], "little") == 540 or int.from_bytes(start[:4], "big") == 540:
        kind = nibabel.Nifti2Header
    try:
        header = kind(start[: kind.sizeof_hdr])
        shape = tuple(int(size) for size in header.get_data_shape())
        affine = np.asarray(header.get_best_affine(), np.float64)
        dtype = header.get_data_dtype()
        slope, intercept = header.get_slope_inter()
        offset = int(header.get_data_offset())
    except (HeaderDataError, WrapStructError, ValueError, KeyError) as error:
        raise DataError(f"{path}: unreadable header ({error})") from error
    while len(shape) > 3 and shape[-1] == 1:
        shape = shape[:-1]  # singleton axes after the third carry nothing
    if len(shape) not in (3, 4) or min(shape) < 1:
        raise DataError(f"{path}: shape {shape}; a volume must be 3D, or 4D with channels last")
    if dtype.kind not in "iuf" or dtype.itemsize > 8:
        raise DataError(f"{path}: voxels of type {dtype} are not supported")
    if not np.isfinite(affine).all() or abs(np.linalg.det(affine[:3, :3])) < 1e-9:
        raise DataError(f"{path}: unreadable header (its affine cannot be inverted)")
    return Header(
        shape,
        affine,
        dtype,
        1.0 if slope is None else float(slope),
        0.0 if intercept is None else float(intercept),
        offset,
    )
