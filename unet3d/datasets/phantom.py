"""A phantom data set on disk: .nii.gz files in the Decathlon layout, written once."""

from __future__ import annotations

import json
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict
from pathlib import Path

import numpy as np

from unet3d.config.schema import PhantomConfig
from unet3d.datasets.phantom_anatomy import SEQUENCES, make_phantom
from unet3d.errors import DataError
from unet3d.files import publish, remove_stale, temporary_folder
from unet3d.machine import cores

SETTINGS = "phantom.json"
LABELS = {
    "0": "background",
    "1": "edema",
    "2": "non-enhancing tumor",
    "3": "enhancing tumour",
}


def ensure_phantoms(root: Path, phantom: PhantomConfig) -> None:
    """Write the phantoms unless `root` has a data set; DataError if that has other settings."""
    if (root / "dataset.json").exists():
        _check_settings(root, phantom)
    else:
        write_phantoms(root, phantom)


def write_phantoms(root: Path, phantom: PhantomConfig) -> None:
    """Write `phantom.cases` cases to the new folder `root`, which appears complete or not at all.

    Another process may write the same phantoms at the same time; one of the two copies is kept.
    Raises DataError when `root` contains anything else.
    """
    root = Path(root).absolute()
    root.parent.mkdir(parents=True, exist_ok=True)
    remove_stale(root.parent)
    with temporary_folder(root) as folder:
        (folder / "imagesTr").mkdir()
        (folder / "labelsTr").mkdir()
        names = [f"PHANTOM_{index:03d}" for index in range(1, phantom.cases + 1)]
        with ThreadPoolExecutor(cores()) as pool:
            list(
                pool.map(lambda i: _write_phantom(folder, names[i], phantom, i), range(len(names)))
            )
        (folder / SETTINGS).write_text(json.dumps(asdict(phantom), indent=1))
        (folder / "dataset.json").write_text(json.dumps(_dataset_json(names), indent=1))
        if not publish(folder, root):
            _check_settings(root, phantom)


def _check_settings(root: Path, phantom: PhantomConfig) -> None:
    if not (root / "dataset.json").exists():
        raise DataError(f"{root}: not empty, but not a data set; set data.root to a new folder")
    if not (root / SETTINGS).exists():
        return  # the user's own data set
    found = json.loads((root / SETTINGS).read_text())
    wanted = json.loads(json.dumps(asdict(phantom)))
    changed = [key for key in wanted if found.get(key) != wanted[key]]
    if changed:
        key = changed[0]
        raise DataError(
            f"{root}: its phantoms were written with data.phantom.{key}={found.get(key)}, not "
            f"{wanted[key]}; set data.root to a new folder, or delete this one"
        )


def _dataset_json(names: list[str]) -> dict[str, object]:
    return {
        "name": "phantom",
        "description": "Generated brain-like volumes with a tumour; not medical data",
        "tensorImageSize": "4D",
        "modality": {str(index): name for index, name in enumerate(SEQUENCES)},
        "labels": LABELS,
        "numTraining": len(names),
        "numTest": 0,
        "training": [
            {"image": f"./imagesTr/{name}.nii.gz", "label": f"./labelsTr/{name}.nii.gz"}
            for name in names
        ],
        "test": [],
    }


def _write_phantom(folder: Path, name: str, phantom: PhantomConfig, index: int) -> None:
    image, label = make_phantom(phantom, index)
    # stored as scanners do, towards left and back (LPS), so that reading must reorient
    dx, dy, dz = phantom.spacing
    affine = np.diag([-dx, -dy, dz, 1.0])
    affine[:2, 3] = [dx * (image.shape[0] - 1), dy * (image.shape[1] - 1)]
    write_nifti(folder / "imagesTr" / f"{name}.nii.gz", image[::-1, ::-1], affine)
    write_nifti(folder / "labelsTr" / f"{name}.nii.gz", label[::-1, ::-1], affine)


def write_nifti(path: Path, voxels: np.ndarray, affine: np.ndarray) -> None:
    """Write a .nii.gz file with fast compression; the same voxels give the same bytes."""
    import nibabel
    from zlib_ng import gzip_ng

    image = nibabel.Nifti1Image(voxels, affine)
    image.header.set_xyzt_units("mm")
    path.write_bytes(gzip_ng.compress(image.to_bytes(), 2, mtime=0))
