"""MetaImage and NRRD files (.mha, .mhd, .nrrd, .nhdr), read by SimpleITK as NIfTI files are."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from unet3d.datasets.file_kinds import check_regular
from unet3d.datasets.nifti import Header, check_memory, voxel_lengths
from unet3d.errors import DataError, in_a_line

LPS_TO_RAS = np.diag([-1.0, -1.0, 1.0, 1.0])  # ITK's first two axes run left and back
DETACHED = (".mhd", ".nhdr")  # a header alone, which names the file with the voxels
WRITING = ("writing", "name a .nii.gz file")  # for `simple_itk`
DATA_FILE_KEYS = ("ElementDataFile", "data file")


def read_itk_header(path: Path) -> Header:
    """The header of a file without its voxels. Raises DataError where it cannot be read."""
    check_regular(path)
    reader = _reader(path)
    try:
        reader.ReadImageInformation()
    except RuntimeError as error:
        raise _unreadable(path, error) from error
    return _header(path, reader)


def read_itk_voxels(path: Path) -> tuple[np.ndarray, Header]:
    """The voxels (x, y, z) or (x, y, z, channels) of a file, and its header; DataError as above.

    A vector image has its components as channels; a 4D one its last axis.
    """
    header = read_itk_header(path)
    check_memory(path, header.end)
    reader = _reader(path)
    try:
        image = reader.Execute()
    except (RuntimeError, MemoryError) as error:
        raise _unreadable(path, error) from error
    import SimpleITK

    voxels = SimpleITK.GetArrayFromImage(image)  # (z, y, x[, components]), or (t, z, y, x)
    if image.GetNumberOfComponentsPerPixel() > 1:
        voxels = np.moveaxis(voxels, -1, 0)
    voxels = voxels.T
    voxels.flags.writeable = False
    return voxels.reshape(header.shape, order="F"), header


def data_file(path: Path) -> Path | None:
    """The file with the voxels of a .mhd or .nhdr header; None where it is the file itself."""
    if path.suffix not in DETACHED:
        return None
    for line in path.read_bytes()[:65536].decode("latin-1").splitlines():
        key, _, value = line.replace("=", ":", 1).partition(":")
        if key.strip() in DATA_FILE_KEYS and value.strip() not in ("", "LOCAL"):
            return path.parent / value.strip()
    return None


def write_itk(path: Path, voxels: np.ndarray, like: Header) -> None:
    """Write voxels (x, y, z) on the grid of a header, compressed; the file appears whole.

    Raises DataError where it cannot be written.
    """
    sitk = simple_itk(path, *WRITING)
    image = sitk.GetImageFromArray(np.ascontiguousarray(voxels.T))
    spacing, origin, direction = itk_grid(like.affine)
    image.SetSpacing(spacing)
    image.SetOrigin(origin)
    image.SetDirection(direction)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        if path.name.endswith(DETACHED):  # the header has the name of the file with the voxels
            sitk.WriteImage(image, str(path), True)
            return
        temporary = path.with_name(f".{path.name}.part{path.suffix}")
        try:
            sitk.WriteImage(image, str(temporary), True)
            temporary.replace(path)
        finally:
            temporary.unlink(missing_ok=True)
    except (OSError, RuntimeError) as error:
        raise DataError(f"{path}: cannot be written ({in_a_line(error)})") from error


def itk_grid(affine: np.ndarray) -> tuple[tuple[float, ...], tuple[float, ...], tuple[float, ...]]:
    """ITK's spacing (3,), origin (3,) and direction (9,) of voxels with an affine (4, 4) to RAS."""
    lps = LPS_TO_RAS @ np.asarray(affine, np.float64)
    lengths = voxel_lengths(lps)
    direction = (lps[:3, :3] / lengths).ravel()
    return tuple(lengths.tolist()), tuple(lps[:3, 3].tolist()), tuple(direction.tolist())


def simple_itk(path: Path, doing: str = "reading", instead: str = "convert them to .nii.gz") -> Any:
    """SimpleITK, for a file; DataError where it is not installed. instead: what to do without."""
    try:
        import SimpleITK
    except ImportError as error:
        raise DataError(
            f"{path}: {doing} {path.suffix} files needs SimpleITK; run: "
            f"pip install 'unet3d[formats]', or {instead}"
        ) from error
    return SimpleITK


def _reader(path: Path) -> Any:
    sitk = simple_itk(path)
    sitk.ProcessObject.SetGlobalWarningDisplay(False)
    reader = sitk.ImageFileReader()
    reader.SetFileName(str(path))
    return reader


def _header(path: Path, reader: Any) -> Header:
    import SimpleITK

    size, dimension = reader.GetSize(), reader.GetDimension()
    components = reader.GetNumberOfComponents()
    if dimension not in (3, 4) or (dimension == 4 and components > 1):
        raise DataError(f"{path}: shape {size}; a volume must be 3D, or 3D with channels")
    affine = np.eye(4)
    direction = np.array(reader.GetDirection()).reshape(dimension, dimension)[:3, :3]
    affine[:3, :3] = direction * np.array(reader.GetSpacing()[:3])
    affine[:3, 3] = reader.GetOrigin()[:3]
    if abs(np.linalg.det(affine[:3, :3])) < 1e-12:
        raise DataError(f"{path}: unreadable header (its directions cannot be inverted)")
    name = SimpleITK.GetPixelIDValueAsString(reader.GetPixelID())
    dtype = _dtype(path, name)
    shape = tuple(int(n) for n in size) + ((components,) if components > 1 else ())
    while len(shape) > 3 and shape[-1] == 1:
        shape = shape[:-1]
    return Header(shape, LPS_TO_RAS @ affine, dtype, 1.0, 0.0, 0)


def _dtype(path: Path, name: str) -> np.dtype:
    """The NumPy type of ITK's name of one: "16-bit signed integer", "vector of 32-bit float"."""
    words = name.lower().removeprefix("vector of ")
    bits = words.partition("-bit")[0]
    kind = "f" if "float" in words else "u" if "unsigned" in words else "i"
    if not bits.isdigit() or "complex" in words:
        raise DataError(f"{path}: voxels of type {name} are not supported")
    return np.dtype(f"{kind}{int(bits) // 8}")


def _unreadable(path: Path, error: BaseException) -> DataError:
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return DataError(f"{path}: cannot be read ({lines[-1] if lines else error})")
