"""Which files are images, by their names."""

from __future__ import annotations

import re
from pathlib import PurePosixPath

NIFTI_SUFFIXES = (".nii.gz", ".nii")
ITK_SUFFIXES = (".mha", ".mhd", ".nrrd", ".nhdr")  # read by SimpleITK
SUFFIXES = NIFTI_SUFFIXES + ITK_SUFFIXES


def image_suffix(name: str) -> str:
    """The ending of an image's name, .nii.gz as a whole; "" for a file that is no image."""
    file = PurePosixPath(name).name
    for suffix in SUFFIXES:
        if file.endswith(suffix) and len(file) > len(suffix) and not file.startswith("."):
            return suffix
    return ""


def without_suffix(name: str) -> str | None:
    """The name of an image file without its folder and its ending; None for any other file."""
    suffix = image_suffix(name)
    return PurePosixPath(name).name[: -len(suffix)] if suffix else None


def numbered(name: str, channel: int) -> str:
    """The file of a sequence as nnU-Net names it: case_0000.nii.gz of case.nii.gz, or case_0000."""
    suffix = image_suffix(name)
    return f"{name.removesuffix(suffix)}_{channel:04d}{suffix}"


def case_of_numbered(name: str, suffix: str = "") -> str | None:
    """The case of a file or folder that is `numbered`; None for any other name."""
    stem = name.removesuffix(suffix)
    is_one = (stem != name or not suffix) and re.fullmatch(r".+_[0-9]{4}", stem, re.ASCII)
    return stem[:-5] if is_one else None
