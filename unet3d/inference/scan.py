"""A scan that is to be segmented: its files, checked, and its voxels as the network sees them."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from unet3d.config import DataConfig
from unet3d.data.build import standard_image, stored_spacing
from unet3d.data.decathlon import SUFFIXES
from unet3d.data.errors import DataError
from unet3d.data.geometry import Geometry
from unet3d.data.volume import AFFINE_TOLERANCE, Header, read_scan

SPACING_MM = (0.01, 20.0)  # no medical scanner's voxel is smaller or larger


@dataclass(frozen=True)
class Scan:
    """The files of one case: one with all sequences, or one a sequence in the order of training."""

    name: str
    files: tuple[Path, ...]


@dataclass(frozen=True)
class Prepared:
    """A scan on the network's grid. image: (x, y, z, channels), of data.dtype; spacing: mm."""

    image: np.ndarray
    spacing: tuple[float, float, float]
    geometry: Geometry


def find_scans(given: str) -> list[Scan]:
    """The scans that `input=` names: a file, the files of one case as a,b,c, or a folder.

    In a folder each file is a case, or, where names end in _0000, _0001, ... as nnU-Net has them,
    those of one stem are the sequences of a case. Raises DataError where there are none.
    """
    paths = [Path(part.strip()) for part in given.split(",") if part.strip()]
    missing = [path for path in paths if not path.exists()]
    if missing or not paths:
        raise DataError(f"input: {missing[0] if missing else given!r} is not there")
    if len(paths) > 1 or paths[0].is_file():
        return [Scan(stem(paths[0]), tuple(paths))]
    grouped: dict[str, list[Path]] = {}
    for path in sorted(paths[0].iterdir()):
        if path.name.endswith(SUFFIXES) and not path.name.startswith("."):
            grouped.setdefault(re.sub(r"_\d{4}$", "", stem(path)), []).append(path)
    if not grouped:
        raise DataError(f"input: {paths[0]} holds no .nii.gz or .nii file")
    return [Scan(name, tuple(files)) for name, files in grouped.items()]


def stem(path: Path) -> str:
    """A file's name without .nii.gz or .nii. Raises DataError where it ends otherwise."""
    for suffix in SUFFIXES:
        if path.name.endswith(suffix):
            return path.name[: -len(suffix)]
    raise DataError(f"{path}: not a .nii.gz or .nii file")


def prepare(scan: Scan, data: DataConfig, names: Sequence[str]) -> Prepared:
    """Read and preprocess a scan as those of the training were. names: of the sequences.

    Raises DataError for files that are damaged, not 3D, of another grid than each other, not in
    mm, or not as many sequences as the network was trained on.
    """
    channels = _channels(scan)
    if len(channels) != len(names):
        raise DataError(
            f"{scan.files[0]}: {len(channels)} sequences, but the network was trained on "
            f"{len(names)}: {', '.join(names)}"
        )
    image, _, geometry, _ = standard_image(scan.files[0], channels, data, tuple(names))
    spacing = stored_spacing(geometry, image.shape[:3])
    return Prepared(image, spacing, geometry)


def _channels(scan: Scan) -> list[tuple[np.ndarray, Header]]:
    channels: list[tuple[np.ndarray, Header]] = []
    for path in scan.files:
        voxels, header = read_scan(path)
        _check_units(path, header)
        if channels:
            check_same_grid(path, header, scan.files[0], channels[0][1])
        parts = [voxels] if voxels.ndim == 3 else [voxels[..., c] for c in range(voxels.shape[3])]
        channels += [(part, header) for part in parts]
    return channels


def _check_units(path: Path, header: Header) -> None:
    low, high = SPACING_MM
    if not all(low <= length <= high for length in header.spacing):
        raise DataError(
            f"{path}: voxels of {' x '.join(f'{x:g}' for x in header.spacing)} are not in mm; "
            "mend the affine of the file"
        )


def check_same_grid(path: Path, header: Header, first: Path, expected: Header) -> None:
    """Raises DataError where a file's grid (x, y, z) is not that of the file `first`."""
    if header.shape[:3] != expected.shape[:3]:
        raise DataError(f"{path}: shape {header.shape} differs from {expected.shape} of {first}")
    distance = float(np.abs(header.affine - expected.affine).max())
    if distance > AFFINE_TOLERANCE:
        raise DataError(f"{path}: its affine differs from that of {first} by {distance:.3g} mm")


def write_segmentation(path: Path, labels: np.ndarray, like: Path) -> None:
    """Write uint8 labels (x, y, z) on the grid of the file `like`, which appears whole.

    Raises DataError where the place cannot be written to.
    """
    import nibabel

    source: Any = nibabel.load(like)
    kind = nibabel.Nifti2Image if isinstance(source, nibabel.Nifti2Image) else nibabel.Nifti1Image
    header = source.header.copy()
    header.set_data_dtype(np.uint8)
    header.set_slope_inter(1, 0)
    header["cal_max"] = header["cal_min"] = 0
    image = kind(labels.astype(np.uint8), source.affine, header)
    for setter, getter in (("set_sform", "get_sform"), ("set_qform", "get_qform")):
        matrix, code = getattr(source, getter)(coded=True)
        if matrix is not None:
            getattr(image, setter)(matrix, int(code))
    suffix = ".nii" if path.name.endswith(".nii") else ".nii.gz"
    temporary = path.with_name(f".{path.name}.part{suffix}")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        nibabel.save(image, temporary)
        temporary.replace(path)
    except OSError as error:
        raise DataError(f"{path}: cannot be written ({error.strerror})") from error
    finally:
        temporary.unlink(missing_ok=True)
