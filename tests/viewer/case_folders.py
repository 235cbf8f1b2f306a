"""Folders of scans, label files and segmentations of heads whose right side is marked."""

from __future__ import annotations

from pathlib import Path

import nibabel
import numpy as np

from unet3d.config.schema import ViewConfig

SHAPE = (24, 30, 16)  # towards right, anterior, superior
SPACING = (2.0, 2.0, 3.0)  # mm
MARK = (slice(18, 21), slice(18, 22), slice(6, 10))  # at the patient's right
LESION = (slice(6, 12), slice(8, 14), slice(5, 11))  # at the left
SHIFTS = {"a": 1, "b": 4, "c": 0}  # voxels by which the prediction is off


def save(path: Path, voxels: np.ndarray, axes: tuple[int, int, int] = (-1, 1, 1)) -> None:
    """Write (right, anterior, superior) voxels in a file whose axes run the other way if -1."""
    path.parent.mkdir(parents=True, exist_ok=True)
    image = nibabel.Nifti1Image(voxels, np.diag([*SPACING, 1.0]))
    nibabel.save(image.as_reoriented(np.array([[i, axes[i]] for i in range(3)])), path)


def case_folders(folder: Path, image_ending: str = "") -> ViewConfig:
    """Three cases in folders below `folder`, and the settings that name these."""
    for name, shift in SHIFTS.items():
        image: np.ndarray = np.zeros(SHAPE, np.int16)
        image[3:21, 3:27, 2:14] = 300
        image[MARK] = 900
        truth: np.ndarray = np.zeros(SHAPE, np.uint8)
        truth[LESION] = 2
        truth[8:10, 10:12, 7:9] = 1
        save(folder / "scans" / f"{name}{image_ending}.nii.gz", image)
        save(folder / "truth" / f"{name}.nii.gz", truth)
        save(folder / "masks" / f"{name}.nii.gz", np.roll(truth, shift, axis=1))
    return ViewConfig(
        image=str(folder / "scans"),
        pred=str(folder / "masks"),
        truth=str(folder / "truth"),
        serve=False,
    )
