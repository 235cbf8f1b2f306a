"""A scan to segment: its files, checked, and its voxels as the network sees them."""

from __future__ import annotations

import logging
import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from unet3d.config.command_line import expand_home
from unet3d.config.schema import DataConfig
from unet3d.datasets.dicom import is_dicom_folder, series_modality
from unet3d.datasets.folders import images_by_case
from unet3d.datasets.grids import check_same_grid
from unet3d.datasets.image_files import (
    ITK_SUFFIXES,
    NIFTI_SUFFIXES,
    case_of_numbered,
    numbered,
    without_suffix,
)
from unet3d.datasets.nifti import Header
from unet3d.datasets.volumes import read_header, read_scan, sequences
from unet3d.errors import DataError
from unet3d.preprocessing.case import standard_image, stored_spacing
from unet3d.preprocessing.geometry import Geometry

STEPS = 2**15  # of a share in a file of 16 bits; a power of 2, so that 1 stays 1
log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Scan:
    """The files of a case: one with all sequences, or one per sequence in training order."""

    name: str
    files: tuple[Path, ...]


@dataclass(frozen=True)
class PreparedScan:
    """A scan on the network's grid. image: (x, y, z, channels) in data.dtype; spacing: mm."""

    image: np.ndarray
    spacing: tuple[float, float, float]
    geometry: Geometry


def find_scans(
    given: str, channels: int, pattern: str | None = None, names: Sequence[str] = ()
) -> list[Scan]:
    """The scans that `input=` names: a file, the files of one case as a,b,c, or a folder.

    In a folder each file is a case, unless the network has several `channels`: then files of one
    stem that end in _0000, _0001, ... and are as many are the sequences of a case, as in nnU-Net.
    Of a network of one sequence that is so where all files end in _0000.
    pattern, names: `data.pattern` and the sequences of a network that was trained on data=folders;
    a folder without image files of its own has the cases that fit it.
    A folder with a DICOM series is a file in this sense. Raises DataError where there are none, or
    where two would have the same name.
    """
    paths = input_paths(given)
    if len(paths) > 1 or paths[0].is_file() or is_dicom_folder(paths[0]):
        return [Scan(stem(paths[0]), tuple(paths))]
    try:
        found = sorted(paths[0].iterdir())
    except OSError as error:
        raise DataError(f"input: {paths[0]} cannot be read ({error.strerror})") from error
    files = [path for path in found if without_suffix(path.name) is not None]
    if pattern and not files and (cases := images_by_case(paths[0], pattern, names)):
        return [Scan(name, images) for name, images in sorted(cases.items())]
    files = files or [path for path in found if is_dicom_folder(path)]
    if not files:
        raise DataError(f"input: {paths[0]} contains no .nii.gz or .nii file, and no DICOM series")
    scans: dict[str, Scan] = {}
    for scan in _grouped(files, channels):
        if scan.name in scans:
            raise DataError(
                f"input: {scans[scan.name].files[0]} and {scan.files[0]} would both be segmented "
                f"as {scan.name}.nii.gz; rename or move one"
            )
        scans[scan.name] = scan
    return list(scans.values())


def _grouped(files: Sequence[Path], channels: int) -> list[Scan]:
    """Each file as a scan, or with those that complete it to all sequences of a case."""
    by_stem: dict[str, dict[str, Path]] = {}
    for path in files:
        if name := case_of_numbered(stem(path)):
            by_stem.setdefault(name, {}).setdefault(stem(path), path)
    one_each = channels == 1 and all(stem(path).endswith("_0000") for path in files)
    complete: dict[str, tuple[Path, ...]] = {}
    for name, parts in by_stem.items():
        expected = [numbered(name, index) for index in range(channels)]
        if (channels > 1 or one_each) and sorted(parts) == expected:
            complete[name] = tuple(parts[one] for one in expected)
    grouped = {path for parts in complete.values() for path in parts}
    scans = [Scan(name, parts) for name, parts in complete.items()]
    scans += [Scan(stem(path), (path,)) for path in files if path not in grouped]
    return sorted(scans, key=lambda scan: scan.name)


def input_paths(given: str) -> list[Path]:
    """The files or the folder of `input=`: a path, or several as a,b,c or [a,b,c].

    A path may itself contain commas. Raises DataError for one that does not exist.
    """
    if os.path.exists(given):  # unlike Path.exists, also of what is too long for a path
        return [Path(given)]
    listed = given.strip()
    bracketed = listed.startswith("[") and listed.endswith("]")
    parts = (listed[1:-1] if bracketed else given).split(",")
    paths: list[Path] = []
    while parts:
        for count in range(len(parts), 0, -1):  # the longest that exists, for commas in names
            path = Path(expand_home(_unquoted(",".join(parts[:count]))))
            if os.path.exists(path):
                break
        if str(path) != ".":
            paths.append(path)
        parts = parts[count:]
    missing = [path for path in paths if not os.path.exists(path)]
    if missing or not paths:
        raise DataError(f"input: {missing[0] if missing else repr(given)} does not exist")
    folders = [path for path in paths if path.is_dir() and not is_dicom_folder(path)]
    if folders and len(paths) > 1:
        raise DataError(f"input: {folders[0]} is a folder; name files, or one folder alone")
    return paths


def _unquoted(part: str) -> str:
    part = part.strip()
    quoted = len(part) > 1 and part[0] == part[-1] and part[0] in "'\""
    return part[1:-1] if quoted else part


def stem(path: Path) -> str:
    """A file's name without .nii.gz or another image's ending, or that of a DICOM folder.

    Raises DataError for any other file.
    """
    name = path.resolve().name if path.is_dir() else without_suffix(path.name)
    if name is None:
        raise DataError(f"{path}: not a .nii.gz or .nii file")
    return name


def prepare_scan(scan: Scan, data: DataConfig, names: Sequence[str]) -> PreparedScan:
    """Read and preprocess a scan as in training. names: of the sequences.

    Raises DataError for files that are damaged, not 3D, on different grids, and for another number
    of sequences than the network was trained on.
    """
    channels = _channels(scan, data.geometry)
    if len(channels) != len(names):
        raise DataError(
            f"{scan.files[0]}: {len(channels)} sequences, but the network was trained on "
            f"{len(names)}: {', '.join(names)}"
            + ("; type the files of one case as input=a,b,c" if len(channels) == 1 else "")
        )
    _mention_modality(scan, data)
    image, _, geometry, _ = standard_image(scan.files[0], channels, data, tuple(names))
    spacing = stored_spacing(geometry, image.shape[:3])
    return PreparedScan(image, spacing, geometry)


def _mention_modality(scan: Scan, data: DataConfig) -> None:
    """Warn where a DICOM series says that it is no CT, and the network scales its values as CT."""
    methods = data.normalize if isinstance(data.normalize, list) else []
    for path, method in zip(scan.files, methods, strict=False):
        if method == "ct" and path.is_dir() and (found := series_modality(path)) != "CT":
            log.warning(
                "%s: its modality is %s, but the network takes its values as Hounsfield units of "
                "CT",
                path,
                found or "not stated",
            )


def _channels(scan: Scan, geometry: str) -> list[tuple[np.ndarray, Header]]:
    channels: list[tuple[np.ndarray, Header]] = []
    for path in scan.files:
        voxels, header = read_scan(path)
        if channels:
            first = scan.files[0], channels[0][1]
            check_same_grid(path, header, *first, geometry, "a run with data.geometry")
        channels += [(part, header) for part in sequences(voxels)]
    return channels


def write_segmentation(path: Path, labels: np.ndarray, like: Path) -> None:
    """Write uint8 labels (x, y, z) on the grid of the file `like`; the file appears whole.

    Raises DataError where it cannot be written.
    """
    write_volume(path, labels.astype(np.uint8), like)


def write_shares(path: Path, values: np.ndarray, like: Path) -> None:
    """Write values (x, y, z) in [0, 1] on the grid of the file `like`; the file appears whole.

    In 16 bits with NIfTI's scale factor, exact to 1/65536: NIfTI has no float16, which near 1 is
    exact to 1/4096 only. Raises DataError where the file cannot be written.
    """
    steps = np.rint(np.clip(values, 0, 1) * STEPS).astype(np.uint16)
    write_volume(path, steps, like, 1 / STEPS)


def write_volume(path: Path, voxels: np.ndarray, like: Path, slope: float = 1.0) -> None:
    """Write voxels (x, y, z) on the grid of the file `like`; slope: what one of their units is.

    The ending of `path` names the format; of .mha, .mhd, .nrrd and .nhdr there is no slope.
    """
    if path.name.endswith(ITK_SUFFIXES):
        from unet3d.datasets.itk import write_itk

        write_itk(path, voxels if slope == 1 else voxels * np.float32(slope), read_header(like))
        return
    import nibabel

    if like.name.endswith(NIFTI_SUFFIXES) and not like.is_dir():
        image = _image_like(voxels, like, slope)
    else:
        image = nibabel.Nifti1Image(voxels, read_header(like).affine)
        image.header.set_slope_inter(slope, 0)
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


def _image_like(voxels: np.ndarray, like: Path, slope: float) -> Any:
    """The voxels as a NIfTI image with the header of another, both of its matrices included."""
    import nibabel

    source: Any = nibabel.load(like)
    kind = nibabel.Nifti2Image if isinstance(source, nibabel.Nifti2Image) else nibabel.Nifti1Image
    header = source.header.copy()
    header.set_data_dtype(voxels.dtype)
    header["cal_max"] = header["cal_min"] = 0
    image = kind(voxels, source.affine, header)
    image.header.set_slope_inter(slope, 0)
    for setter, getter in (("set_sform", "get_sform"), ("set_qform", "get_qform")):
        matrix, code = getattr(source, getter)(coded=True)
        if matrix is not None:
            getattr(image, setter)(matrix, int(code))
    return image
