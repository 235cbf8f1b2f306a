"""A DICOM series in a folder, read as one volume: geometry by pydicom, voxels by SimpleITK."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import prod
from pathlib import Path
from typing import Any

import numpy as np

from unet3d.datasets.itk import LPS_TO_RAS
from unet3d.datasets.nifti import Header, check_memory
from unet3d.errors import DataError, in_a_line

MAGIC, MAGIC_AT = b"DICM", 128
SUFFIX = ".dcm"
EVEN = 0.02  # of the distance of two slices: how much another may differ, as positions are rounded
PARALLEL = 1e-3  # of the directions' cosines
NEEDS = "run: pip install 'unet3d[dicom]'"
TAGS = (
    "SeriesInstanceUID",
    "SeriesDescription",
    "Modality",
    "Rows",
    "Columns",
    "NumberOfFrames",
    "PixelSpacing",
    "ImagePositionPatient",
    "ImageOrientationPatient",
    "RescaleSlope",
    "RescaleIntercept",
)


@dataclass(frozen=True)
class Series:
    """Slices of one series. files: from the first along the normal; modality: CT, MR, ...

    whole: whether all values are whole numbers, by slopes and intercepts that the slices share.
    """

    files: tuple[Path, ...]
    header: Header
    modality: str
    whole: bool


def is_dicom_folder(path: Path) -> bool:
    """Whether a folder has a DICOM file in it, by its first bytes or its name."""
    return path.is_dir() and any(_is_dicom(file) for file in sorted(path.iterdir()))


def dicom_files(folder: Path) -> list[Path]:
    """The DICOM files in a folder, by their first bytes or their names. Raises DataError."""
    try:
        return [file for file in sorted(folder.iterdir()) if _is_dicom(file)]
    except OSError as error:
        raise DataError(f"{folder}: cannot be read ({error.strerror})") from error


def series_modality(folder: Path) -> str:
    """CT, MR, ... by the first image in a folder alone; "" where that does not say it.

    Raises DataError where there is no DICOM image.
    """
    for file in dicom_files(folder):
        found = _read_tags(file, ("Modality", "Rows"))
        if "Rows" in found:
            return str(found.get("Modality", ""))
    raise DataError(f"{folder}: a folder, not a file, and without a DICOM image in it")


def read_series(folder: Path) -> Series:
    """The series in a folder, its voxels not read.

    Raises DataError where there is none or more than one, and for slices that are missing, double,
    tilted or of different sizes.
    """
    slices: list[tuple[Path, Any]] = []
    for file in dicom_files(folder):
        found = _read_tags(file, TAGS)
        if "Rows" in found:  # a report or a presentation state has none
            slices.append((file, found))
    if not slices:
        raise DataError(f"{folder}: a folder, not a file, and without a DICOM image in it")
    _check_one_series(folder, [found for _, found in slices])
    if len(slices) < 2:
        raise DataError(
            f"{slices[0][0]}: is the only image of its series; a scan needs several slices, and "
            "one file with all of them must be converted to .nii.gz, for example with dcm2niix"
        )
    try:
        return _series(folder, slices)
    except (AttributeError, TypeError, ValueError, IndexError) as error:
        if isinstance(error, DataError):
            raise
        raise DataError(
            f"{folder}: is no series of slices of a volume ({in_a_line(error)})"
        ) from error


def read_dicom(folder: Path) -> tuple[np.ndarray, Header]:
    """The voxels (x, y, z), rescaled to the units of the series, read-only, and their header.

    Raises DataError as `read_series`, and for voxels that cannot be read.
    """
    series = read_series(folder)
    check_memory(folder, prod(series.header.shape) * 4)
    try:
        import SimpleITK
    except ImportError as error:
        raise DataError(f"{folder}: reading DICOM needs SimpleITK; {NEEDS}") from error
    SimpleITK.ProcessObject.SetGlobalWarningDisplay(False)
    reader = SimpleITK.ImageSeriesReader()
    reader.SetFileNames([str(file) for file in series.files])
    reader.SetOutputPixelType(SimpleITK.sitkInt32 if series.whole else SimpleITK.sitkFloat32)
    try:
        image = reader.Execute()
    except (RuntimeError, MemoryError) as error:
        lines = [line.strip() for line in str(error).splitlines() if line.strip()]
        raise DataError(f"{folder}: cannot be read ({lines[-1] if lines else error})") from error
    voxels = SimpleITK.GetArrayFromImage(image).T  # (z, y, x) before
    if voxels.shape != series.header.shape:
        raise DataError(f"{folder}: holds {voxels.shape} voxels, not {series.header.shape}")
    voxels.flags.writeable = False
    return voxels, series.header


def _read_tags(file: Path, tags: Sequence[str]) -> Any:
    """A file's data set with these tags only. Raises DataError."""
    try:
        import pydicom
    except ImportError as error:
        raise DataError(f"{file.parent}: reading DICOM needs pydicom; {NEEDS}") from error
    try:
        return pydicom.dcmread(file, stop_before_pixels=True, specific_tags=list(tags))
    except Exception as error:  # of pydicom, by what is wrong in the file
        raise DataError(f"{file}: cannot be read as DICOM ({in_a_line(error)})") from error


def _is_dicom(file: Path) -> bool:
    if not file.is_file() or file.name.startswith(".") or file.name == "DICOMDIR":
        return False
    if file.name.lower().endswith(SUFFIX):
        return True
    try:
        with open(file, "rb") as opened:
            return opened.read(MAGIC_AT + len(MAGIC))[MAGIC_AT:] == MAGIC
    except OSError:
        return False


def _check_one_series(folder: Path, slices: Sequence[Any]) -> None:
    found: dict[str, list[Any]] = {}
    for one in slices:
        found.setdefault(str(one.get("SeriesInstanceUID", "")), []).append(one)
    if len(found) > 1:
        described = [
            f"{of[0].get('SeriesDescription', '') or uid} ({len(of)} images)"
            for uid, of in sorted(found.items())
        ]
        raise DataError(
            f"{folder}: holds {len(found)} series: {', '.join(described)}; put each into a folder "
            "of its own"
        )
    frames = [int(one.get("NumberOfFrames") or 1) for one in slices]
    if max(frames) > 1:
        raise DataError(
            f"{folder}: has {max(frames)} frames in one file; convert it to .nii.gz, for example "
            "with dcm2niix"
        )


def _series(folder: Path, slices: list[tuple[Path, Any]]) -> Series:
    first = slices[0][1]
    sizes = {(int(one.Columns), int(one.Rows)) for _, one in slices}
    spacings = {tuple(round(float(mm), 4) for mm in one.PixelSpacing) for _, one in slices}
    if len(sizes) > 1 or len(spacings) > 1:
        raise DataError(f"{folder}: its slices have different sizes: {sorted(sizes or spacings)}")
    directions = np.array(
        [np.array(one.ImageOrientationPatient, float).reshape(2, 3) for _, one in slices]
    )
    if np.abs(directions - directions[0]).max() > PARALLEL:
        raise DataError(f"{folder}: its slices are not parallel; is it a localizer?")
    row, column = directions[0]  # along a row, and along a column
    normal = np.cross(row, column)
    origins = np.array([one.ImagePositionPatient for _, one in slices], float)
    order = np.argsort(origins @ normal, kind="stable")
    step = _step(folder, [slices[index][0] for index in order], origins[order], normal)
    (size,) = sizes
    between_rows, between_columns = (float(mm) for mm in first.PixelSpacing)
    affine = np.eye(4)
    affine[:3, 0], affine[:3, 1] = row * between_columns, column * between_rows
    affine[:3, 2], affine[:3, 3] = step, origins[order[0]]
    scales = {(one.get("RescaleSlope", 1), one.get("RescaleIntercept", 0)) for _, one in slices}
    whole = len(scales) == 1 and all(float(value).is_integer() for value in next(iter(scales)))
    shape = (*size, len(slices))
    header = Header(shape, LPS_TO_RAS @ affine, np.dtype("i4" if whole else "f4"), 1.0, 0.0, 0)
    files = tuple(slices[index][0] for index in order)
    return Series(files, header, str(first.get("Modality", "")), whole)


def _step(folder: Path, files: list[Path], origins: np.ndarray, normal: np.ndarray) -> np.ndarray:
    """From one slice to the next, mm (3,). origins: (slices, 3), along the normal."""
    gaps = np.diff(origins @ normal)
    usual = float(np.median(gaps))
    if min(gaps) <= EVEN * usual:
        index = int(np.argmin(gaps))
        raise DataError(
            f"{folder}: {files[index].name} and {files[index + 1].name} lie in one place"
        )
    wrong = np.flatnonzero(np.abs(gaps - usual) > EVEN * usual)
    if wrong.size:
        one, other = files[wrong[0]].name, files[wrong[0] + 1].name
        raise DataError(
            f"{folder}: {one} and {other} are {gaps[wrong[0]]:.4g} mm apart, others {usual:.4g} "
            "mm; slices are missing, or of unequal distance"
        )
    step: np.ndarray = (origins[-1] - origins[0]) / (len(origins) - 1)
    if np.linalg.norm(step - (step @ normal) * normal) > EVEN * usual:
        raise DataError(
            f"{folder}: its slices are tilted against their axis, as by the gantry; straighten it, "
            "for example with dcm2niix"
        )
    return step
