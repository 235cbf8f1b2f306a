"""Which files are images, by their names."""

from __future__ import annotations

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
