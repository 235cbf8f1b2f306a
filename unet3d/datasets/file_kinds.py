"""What a file is, by its first bytes, where it is not the NIfTI file that its name says."""

from __future__ import annotations

import stat
from pathlib import Path

from unet3d.errors import DataError

GZIP = b"\x1f\x8b"
HEADER_SIZES = {348: "NIfTI-1", 540: "NIfTI-2"}  # in bytes; a file begins with it
MAGIC = {
    b"version https://git-lfs": "a text pointer of git-lfs; run: git lfs pull",
    b"NRRD": "an NRRD file; convert it to .nii.gz",
    b"ObjectType": "a MetaImage header (.mha, .mhd); convert it to .nii.gz",
    b"PK\x03\x04": "a .zip archive; unpack it",
    b"7z\xbc\xaf": "a .7z archive; unpack it",
    b"BZh": "bzip2-compressed; compress it with gzip instead",
    b"\xfd7zXZ": "xz-compressed; compress it with gzip instead",
    b"\x28\xb5\x2f\xfd": "zstd-compressed; compress it with gzip instead",
    b"\x89HDF": "an HDF5 file; convert it to .nii.gz",
    b"\x93NUMPY": "a NumPy array; convert it to .nii.gz",
    b"\x89PNG": "a PNG image",
    b"<!": "a web page, perhaps an error message of a download; fetch the file again",
    b"<html": "a web page, perhaps an error message of a download; fetch the file again",
}


def header_size(start: bytes) -> tuple[int, bool] | None:
    """(bytes of the header, whether it is big-endian) of a NIfTI file; None for anything else."""
    for order in ("little", "big"):
        size = int.from_bytes(start[:4], order)  # type: ignore[arg-type]
        if size in HEADER_SIZES:
            return size, order == "big"
    return None


def check_regular(path: Path) -> int:
    """The size in bytes of a plain file. Raises DataError for what is none, and an empty one."""
    try:
        found = path.stat()
    except FileNotFoundError as error:
        if path.is_symlink():
            raise DataError(
                f"{path}: a symbolic link to {path.readlink()}, which does not exist"
            ) from error
        raise DataError(f"{path}: No such file or directory") from error
    except (OSError, ValueError) as error:  # ValueError: a NUL byte in the path
        raise DataError(f"{path}: {getattr(error, 'strerror', None) or error}") from error
    if not stat.S_ISREG(found.st_mode):
        raise DataError(f"{path}: {'a folder' if path.is_dir() else 'a device'}, not a file")
    if found.st_size == 0:
        raise DataError(f"{path}: an empty file (0 bytes)")
    return found.st_size


def check_kind(path: Path, first: bytes) -> None:
    """Raise DataError where a file's first bytes show that it is not what its name says."""
    compressed = path.suffix == ".gz"
    if compressed and first[:2] == GZIP:
        return
    problem = None
    if first[:2] == GZIP:
        problem = f"gzip-compressed, though not named so; rename it to {path.name}.gz"
    elif not first.strip(b"\0"):
        problem = "holds only zeros, as files do after an unfinished copy; fetch it again"
    elif header_size(first) is not None:
        if not compressed:
            return
        problem = f"not compressed, though its name says so; rename it to {path.stem}"
    elif first[128:132] == b"DICM":
        problem = (
            "a DICOM file; name the folder of its series in its place, or convert it to .nii.gz, "
            "for example with dcm2niix"
        )
    else:
        lead = first.lstrip()
        problem = next((text for magic, text in MAGIC.items() if lead.startswith(magic)), None)
    if problem is None:
        problem = "damaged, or not gzip-compressed" if compressed else "not a NIfTI file"
        problem = f"unreadable header ({problem})"
    raise DataError(f"{path}: {problem}")
