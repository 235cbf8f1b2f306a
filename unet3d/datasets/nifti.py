"""NIfTI files: headers checked without reading voxels, and voxels read without a copy."""

from __future__ import annotations

import logging
import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from zlib_ng import gzip_ng, zlib_ng

from unet3d.datasets.file_kinds import check_kind, check_regular, header_size
from unet3d.errors import DataError
from unet3d.machine import machine_memory

log = logging.getLogger(__name__)
HEADER_BYTES = 540  # of NIfTI-2; NIfTI-1 needs 348
USUAL_SPACING = (0.01, 20.0)  # mm; no medical scanner's voxel is smaller or larger
DEFLATE_RATIO = 1032  # the most that gzip's compression can reach
CHUNK_BYTES = 1 << 20
DAMAGE: Any = (OSError, EOFError, zlib_ng.error)  # type: ignore[misc]  # its stub is incomplete


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
        # files keep float32: 2.4000001 means 2.4
        dx, dy, dz = (
            round(length, 5) if length >= 0.01 else float(f"{length:.4g}")
            for length in voxel_lengths(self.affine).tolist()
        )
        return dx, dy, dz

    @property
    def end(self) -> int:
        """Bytes up to the last voxel."""
        return self.offset + math.prod(self.shape) * self.dtype.itemsize


def voxel_lengths(affine: np.ndarray) -> np.ndarray:
    """mm of a voxel along each axis (3,), for (4, 4)."""
    return np.sqrt((affine[:3, :3] ** 2).sum(axis=0))


def read_header(path: Path) -> Header:
    """The header of a .nii or .nii.gz file; DataError when it is missing or unreadable."""
    check_regular(path)
    try:
        with _open(path) as file:
            return _parse_header(path, file.read(HEADER_BYTES))
    except DAMAGE as error:
        raise _damaged(path, error) from error


def read_voxels(path: Path) -> tuple[np.ndarray, Header]:
    """The voxels as a read-only view in the file's own order and type, and the header.

    No more is unpacked into memory than the header says. DataError when the file is truncated or
    damaged, or too large for this machine.
    """
    size = check_regular(path)
    try:
        with _open(path) as file:
            start = file.read(HEADER_BYTES)
            header = _parse_header(path, start)
            limit = size * DEFLATE_RATIO if path.suffix == ".gz" else size
            if header.end > limit:
                raise DataError(
                    f"{path}: truncated: {size} bytes cannot hold the {header.end} of its header"
                )
            check_memory(path, header.end)
            data: np.ndarray = np.empty(header.end, np.uint8)
            filled = min(len(start), header.end)
            data[:filled] = np.frombuffer(start[:filled], np.uint8)
            rest = memoryview(data)
            while filled < header.end and (count := file.readinto(rest[filled:])):
                filled += count
            if filled < header.end:
                raise DataError(
                    f"{path}: truncated: {filled} bytes of the {header.end} in its header"
                )
            if path.suffix == ".gz":
                _read_to_end(path, file, header.end)
    except DAMAGE as error:
        raise _damaged(path, error) from error
    data.flags.writeable = False
    return np.ndarray(header.shape, header.dtype, data.data, header.offset, order="F"), header


def read_scan(path: Path) -> tuple[np.ndarray, Header]:
    """`read_voxels` for a scan to segment or show; raises DataError for a single slice, too."""
    voxels, header = read_voxels(path)
    check_not_slice(path, header)
    return voxels, header


def check_not_slice(path: Path, header: Header) -> None:
    """Raise DataError where an axis has one voxel only."""
    if min(header.shape[:3]) < 2:
        raise DataError(f"{path}: shape {header.shape} is that of a slice; a scan must be 3D")


def check_memory(path: Path, needed: float) -> None:
    """Raise DataError where a volume of so many bytes is larger than this machine's memory."""
    if needed > CHUNK_BYTES and needed > (memory := machine_memory()):
        raise DataError(
            f"{path}: needs {needed / 1e9:.3g} GB of memory, and this machine has "
            f"{memory / 1e9:.3g} GB; check the sizes and spacings in its header"
        )


def to_file_units(voxels: np.ndarray, header: Header, dtype: Any = np.float32) -> np.ndarray:
    """Voxels in the units of the file, by its slope and intercept; order kept.

    float32 holds usual intensities; `standardise` finds those that need float64.
    """
    with np.errstate(over="ignore", invalid="ignore"):
        values: np.ndarray = voxels.astype(dtype, order="K")
        if header.slope != 1.0:
            values *= dtype(header.slope)
        if header.intercept != 0.0:
            values += dtype(header.intercept)
    return values


def _open(path: Path) -> Any:
    """The file's content, unzipped as it is read. Raises DataError where it is something else."""
    with open(path, "rb") as file:
        check_kind(path, file.read(HEADER_BYTES))
    if path.suffix != ".gz":
        return open(path, "rb", buffering=0)
    return gzip_ng.open(path, "rb")


def _damaged(path: Path, error: Exception) -> DataError:
    kind = "truncated or damaged .gz" if path.suffix == ".gz" else "cannot be read"
    return DataError(f"{path}: {kind} ({error})")


def _read_to_end(path: Path, file: Any, voxels: int) -> None:
    """Read what follows the voxels, so that the checksum is compared; DataError if it is no end."""
    extra = 0
    while chunk := file.read(CHUNK_BYTES):
        extra += len(chunk)
        if extra > voxels + CHUNK_BYTES:
            raise DataError(f"{path}: unpacks to far more than its header's {voxels} bytes")
    if extra > CHUNK_BYTES:
        log.warning("%s: its header leaves out %d bytes at its end", path, extra)


class _Reports:
    """Takes nibabel's reports on a header: each is logged once, with the first file it is about."""

    seen: set[str] = set()  # noqa: RUF012  # of the process

    def __init__(self, path: Path):
        self.path = path

    def log(self, level: int, message: str) -> None:
        if level >= logging.WARNING and message not in self.seen:
            self.seen.add(message)
            log.warning("%s: %s (said once, for all files)", self.path, message)


def _parse_header(path: Path, start: bytes) -> Header:
    import nibabel
    from nibabel.spatialimages import HeaderDataError
    from nibabel.wrapstruct import WrapStructError

    found = header_size(start)
    if found is None:
        raise DataError(f"{path}: unreadable header (not a NIfTI file)")
    kind: Any = nibabel.Nifti2Header if found[0] == HEADER_BYTES else nibabel.Nifti1Header
    reports = _Reports(path)
    try:
        with np.errstate(all="ignore"):
            header = kind(start[: kind.sizeof_hdr], check=False)
            if bytes(header["magic"].item())[:3] in (b"ni1", b"ni2"):
                raise DataError(f"{path}: a header without voxels (.hdr, .img); convert to .nii.gz")
            header.check_fix(logger=reports, error_level=40)
            shape = tuple(int(size) for size in header.get_data_shape())
            affine = np.asarray(header.get_best_affine(), np.float64)
            dtype = header.get_data_dtype()
            slope, intercept = header.get_slope_inter()
            offset = int(header.get_data_offset())
    except (HeaderDataError, WrapStructError, ValueError, KeyError, ArithmeticError) as error:
        raise DataError(f"{path}: unreadable header ({error})") from error
    while len(shape) > 3 and shape[-1] == 1:
        shape = shape[:-1]  # singleton axes after the third carry no data
    if len(shape) not in (3, 4) or min(shape) < 1:
        raise DataError(f"{path}: shape {shape}; a volume must be 3D, or 4D with channels last")
    if dtype.kind not in "iuf" or dtype.itemsize > 8:
        raise DataError(f"{path}: voxels of type {dtype} are not supported")
    if offset < kind.sizeof_hdr:
        raise DataError(f"{path}: unreadable header (its voxels begin at byte {offset})")
    _check_affine(path, affine, "sform" if header["sform_code"] > 0 else "qform")
    result = Header(
        shape,
        affine,
        dtype,
        1.0 if slope is None else float(slope),
        0.0 if intercept is None else float(intercept),
        offset,
    )
    low, high = USUAL_SPACING
    if not all(low <= length <= high for length in result.spacing):
        sizes = " x ".join(f"{length:g}" for length in result.spacing)
        reports.log(logging.WARNING, f"voxels of {sizes} mm; are they in other units?")
    return result


def _check_affine(path: Path, affine: np.ndarray, form: str) -> None:
    with np.errstate(over="ignore", invalid="ignore"):
        lengths = voxel_lengths(affine)
    if not affine[:3].any():
        raise DataError(
            f"{path}: its {form} is all zeros; set it, for example by fslorient -copyqform2sform"
        )
    if not np.isfinite(affine).all() or not np.isfinite(lengths).all() or not lengths.all():
        raise DataError(f"{path}: unreadable header (its {form} cannot be inverted)")
    if abs(np.linalg.det(affine[:3, :3] / lengths)) < 1e-4:
        raise DataError(f"{path}: unreadable header (its {form} cannot be inverted)")
