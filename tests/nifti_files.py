"""Small data sets of real .nii.gz files, for tests."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import nibabel
import numpy as np

from tests import REPOSITORY
from unet3d.config.schema import DataConfig

REAL = REPOSITORY.parent / "shared" / "data" / "BraTS2013mini"
LPS = np.diag([-1.0, -1.0, 2.0, 1.0])


def save(path: Path, voxels: np.ndarray, affine: np.ndarray = LPS) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    nibabel.save(nibabel.Nifti1Image(voxels, affine), path)


def volumes(seed: int, channels: int = 2) -> tuple[np.ndarray, np.ndarray]:
    """(12, 14, 10[, channels]) int16 that is 0 near its faces, and a label with values 1 and 2."""
    random = np.random.default_rng(seed)
    image = np.zeros((12, 14, 10, channels), np.int16)
    image[2:9, 3:12, 1:8] = random.integers(50, 900, (7, 9, 7, channels))
    label = np.zeros(image.shape[:3], np.uint8)
    label[3:6, 4:7, 2:5] = 1
    label[4, 5, 3] = 2
    return (image[..., 0] if channels == 1 else image), label


def write_dataset(root: Path, cases: int = 3, channels: int = 2, suffix: str = ".nii.gz") -> Path:
    names = [f"case_{index}" for index in range(cases)]
    for index, name in enumerate(names):
        image, label = volumes(index, channels)
        save(root / "imagesTr" / f"{name}{suffix}", image)
        save(root / "labelsTr" / f"{name}{suffix}", label)
    description: dict[str, Any] = {
        "modality": {str(index): f"sequence {index}" for index in range(channels)},
        "labels": {"0": "background", "1": "edema", "2": "core"},
        "training": [
            {"image": f"./imagesTr/{n}{suffix}", "label": f"./labelsTr/{n}{suffix}"} for n in names
        ],
    }
    (root / "dataset.json").write_text(json.dumps(description))
    return root


def config(tmp_path: Path, **changes: Any) -> DataConfig:
    settings = {"name": "tiny", "root": str(tmp_path / "raw"), "store": str(tmp_path / "stores")}
    return DataConfig(**{**settings, "workers": 2, **changes})
