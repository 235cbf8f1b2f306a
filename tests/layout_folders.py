"""The same small cases in each layout that is read, for tests."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np

from tests.nifti_files import LPS, save, volumes

CHANNELS = ("flair", "t1")


def save_itk(path: Path, voxels: np.ndarray, affine: np.ndarray = LPS) -> None:
    """Write (x, y, z[, channels]) as SimpleITK does; channels become components of a vector."""
    import SimpleITK

    path.parent.mkdir(parents=True, exist_ok=True)
    vector = voxels.ndim == 4
    array = np.moveaxis(voxels.T, 0, -1) if vector else voxels.T
    image = SimpleITK.GetImageFromArray(np.ascontiguousarray(array), isVector=vector)
    lps = np.diag([-1.0, -1.0, 1.0, 1.0]) @ affine
    spacing = np.sqrt((lps[:3, :3] ** 2).sum(axis=0))
    image.SetSpacing(spacing.tolist())
    image.SetDirection((lps[:3, :3] / spacing).ravel().tolist())
    image.SetOrigin(lps[:3, 3].tolist())
    SimpleITK.WriteImage(image, str(path))


def write_nnunet(
    root: Path,
    cases: int = 3,
    ending: str = ".nii.gz",
    affine: np.ndarray = LPS,
    **description: Any,
) -> Path:
    """Version 2's layout: imagesTr/case_0_0000.nii.gz, ..., labelsTr/case_0.nii.gz."""
    root.mkdir(parents=True, exist_ok=True)
    content = {
        "channel_names": {str(index): name for index, name in enumerate(CHANNELS)},
        "labels": {"background": 0, "edema": 1, "core": 2},
        "numTraining": cases,
        "file_ending": ending,
        **description,
    }
    (root / "dataset.json").write_text(json.dumps(content))
    write = save if ending == ".nii.gz" else save_itk
    for index in range(cases):
        image, label = volumes(index)
        for channel in range(len(content["channel_names"])):
            path = root / "imagesTr" / f"case_{index}_{channel:04d}{ending}"
            write(path, image[..., channel], affine)
        write(root / "labelsTr" / f"case_{index}{ending}", label, affine)
    return root


def write_folders(root: Path, cases: int = 3) -> Path:
    """BraTS' layout: case_0/case_0-flair.nii.gz, case_0-t1.nii.gz, case_0-seg.nii.gz."""
    for index in range(cases):
        image, label = volumes(index)
        name = f"case_{index}"
        for channel, sequence in enumerate(CHANNELS):
            save(root / name / f"{name}-{sequence}.nii.gz", image[..., channel])
        save(root / name / f"{name}-seg.nii.gz", label)
    return root


def write_table(root: Path, cases: int = 3, **columns: list[Any]) -> Path:
    """cases.csv over the files of `write_folders`, with more columns; returns the table."""
    write_folders(root / "files", cases)
    lines = [",".join(["case", *CHANNELS, "label", *columns])]
    for index in range(cases):
        name = f"case_{index}"
        files = [f"files/{name}/{name}-{kind}.nii.gz" for kind in (*CHANNELS, "seg")]
        lines.append(",".join([name, *files, *(str(values[index]) for values in columns.values())]))
    path = root / "cases.csv"
    path.write_text("\n".join(lines) + "\n")
    return path
