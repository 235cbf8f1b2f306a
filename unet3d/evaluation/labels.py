"""Label files: their values, and the regions that are made of them."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np

from unet3d.checks import check_regions
from unet3d.config import ConfigError
from unet3d.data.decathlon import SUFFIXES
from unet3d.data.errors import DataError
from unet3d.data.volume import Header, read_voxels

Regions = dict[str, list[int]]

PRESETS: dict[str, Regions] = {
    # BraTS: 1 necrosis, 2 edema, 3 (from 2023) or 4 enhancing tumour
    "brats": {"whole_tumour": [1, 2, 3, 4], "tumour_core": [1, 3, 4], "enhancing_tumour": [3, 4]},
    # Task01 of the Decathlon: 1 edema, 2 non-enhancing, 3 enhancing tumour
    "msd_brain": {"whole_tumour": [1, 2, 3], "tumour_core": [2, 3], "enhancing_tumour": [3]},
}


def label_files(folder: Path) -> dict[str, Path]:
    """{stem: path} of the .nii.gz and .nii files of a folder. Raises DataError without any."""
    if not folder.is_dir():
        raise DataError(f"{folder}: not a folder of .nii.gz files")
    found = {
        path.name[: -len(suffix)]: path
        for path in folder.iterdir()
        for suffix in SUFFIXES[:2]
        if path.name.endswith(suffix) and not path.name.startswith(".")
    }
    if not found:
        raise DataError(f"{folder}: holds no .nii.gz or .nii file")
    return found


def chosen_regions(given: Any, truths: Iterable[Path]) -> Regions:
    """The regions that `regions=` names: a preset, a mapping, or each label that is found alone.

    Raises ConfigError for what is none of these.
    """
    if isinstance(given, dict):
        check_regions(given, "regions")
        return {str(name): [int(value) for value in values] for name, values in given.items()}
    if given == "labels":
        values: set[int] = set()
        for path in truths:
            values |= {int(value) for value in np.unique(read_labels(path)[0]) if value}
        return {f"label_{value}": [value] for value in sorted(values)}
    if isinstance(given, str) and given in PRESETS:
        return PRESETS[given]
    raise ConfigError(
        f"regions: {given} is not known; choose labels, {', '.join(PRESETS)}, or write "
        "'regions={whole_tumour:[1,2,3]}'"
    )


def read_labels(path: Path) -> tuple[np.ndarray, Header]:
    """Label values, uint8 (x, y, z), of a file. Raises DataError where it holds other things."""
    voxels, header = read_voxels(path)
    if voxels.ndim != 3:
        raise DataError(f"{path}: a segmentation must be 3D, not of shape {header.shape}")
    if voxels.dtype == np.uint8 and (header.slope, header.intercept) == (1.0, 0.0):
        return voxels, header
    values = voxels * header.slope + header.intercept
    labels = np.rint(np.nan_to_num(values, nan=-1.0))
    whole = np.isclose(values, labels, atol=1e-3).all()
    if not (whole and 0 <= labels.min() <= labels.max() < 256):
        raise DataError(f"{path}: holds values that are no labels, whole numbers from 0 to 255")
    return labels.astype(np.uint8), header
