"""Label files: their values, and the regions made of them."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np

from unet3d.config.rules import check_region_names, check_regions
from unet3d.datasets.image_files import without_suffix
from unet3d.datasets.nifti import Header, to_file_units
from unet3d.datasets.volumes import read_voxels
from unet3d.errors import ConfigError, DataError

WHOLE = 1e-3  # how far a label may be from a whole number
Regions = dict[str, list[int]]

PRESETS: dict[str, Regions] = {
    # BraTS: 1 necrosis, 2 edema, 3 (from 2023) or 4 enhancing tumour
    "brats": {"whole_tumour": [1, 2, 3, 4], "tumour_core": [1, 3, 4], "enhancing_tumour": [3, 4]},
    # Task01 of the Decathlon: 1 edema, 2 non-enhancing, 3 enhancing tumour
    "msd_brain": {"whole_tumour": [1, 2, 3], "tumour_core": [2, 3], "enhancing_tumour": [3]},
}


def label_files(folder: Path) -> dict[str, Path]:
    """{stem: path} of the .nii.gz and .nii files of a folder. Raises DataError if it has none."""
    if not folder.is_dir():
        raise DataError(f"{folder}: not a folder of .nii.gz files")
    found: dict[str, Path] = {}
    for path in sorted(folder.iterdir()):
        stem = without_suffix(path.name)
        if stem is None:
            continue
        if stem in found:
            raise DataError(f"{path}: {found[stem].name} is of the same case; keep one of them")
        found[stem] = path
    if not found:
        raise DataError(f"{folder}: contains no .nii.gz or .nii file")
    return found


def chosen_regions(given: Any, truths: Iterable[Path]) -> Regions:
    """The regions that `regions=` names: a preset, a mapping, or each label on its own.

    Raises ConfigError for anything else.
    """
    if isinstance(given, dict):
        check_regions(given, "regions")
        check_region_names(given, "regions")
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
    """Label values, uint8 (x, y, z), of a file. Raises DataError where it holds other values.

    Whole numbers may be off by WHOLE, as rounding and slopes leave them.
    """
    voxels, header = read_voxels(path)
    if voxels.ndim != 3:
        raise DataError(f"{path}: a segmentation must be 3D, not of shape {header.shape}")
    plain = (header.slope, header.intercept) == (1.0, 0.0)
    if voxels.dtype == np.uint8 and plain:
        return voxels, header
    if not plain:
        voxels = to_file_units(voxels, header, np.float64)
    if voxels.dtype.kind == "f":
        labels = np.rint(voxels)
        with np.errstate(invalid="ignore"):
            wrong = ~(np.abs(voxels - labels) <= WHOLE)  # NaN and infinity, too
        if wrong.any():
            value = float(voxels[wrong][0])
            raise DataError(f"{path}: label value {value:g} is not a whole number from 0 to 255")
        voxels = labels
    for value in (voxels.min(), voxels.max()):
        if not 0 <= value <= 255:
            raise DataError(f"{path}: label value {value:g} is not a whole number from 0 to 255")
    return voxels.astype(np.uint8, order="K"), header
