"""A case in NiiVue: where its bundle is, the files that it loads, and the page around them."""

from __future__ import annotations

from collections.abc import Sequence
from importlib.util import find_spec
from pathlib import Path

import numpy as np

from unet3d.html import render
from unet3d.viewer.case import CaseVolumes, ShownCase
from unet3d.viewer.page import (
    ERROR_COLOURS,
    Link,
    headings,
    region_colour,
    region_rows,
    subsampling,
)

BUNDLE = "static/widget.js"  # in the package ipyniivue
MAX_VOXELS = 64_000_000  # of a volume: 256 MB as a texture of colours


def bundle() -> Path | None:
    """The script of NiiVue in an installed ipyniivue, which is not imported; None without one."""
    found = find_spec("ipyniivue")
    for folder in (found.submodule_search_locations or []) if found else []:
        if (path := Path(folder) / BUNDLE).is_file():
            return path
    return None


def browser_files(volumes: CaseVolumes) -> dict[str, bytes]:
    """The volumes of a case as NIfTI files by name; all on the axes and the grid of the scan.

    The scan is float32 in the units of its file, or as it is where that holds small integers.
    """
    header = volumes.header
    steps = subsampling(volumes.image.shape, header.spacing, MAX_VOXELS)
    affine = header.affine @ np.diag([*steps, 1])
    image = volumes.image
    plain = header.slope == 1.0 and header.intercept == 0.0
    if not (plain and image.dtype in (np.uint8, np.int16)):
        from unet3d.datasets.nifti import to_file_units

        image = to_file_units(image, header)
    found = {"image": _nifti(image, steps, affine)}
    for name, labels in volumes.segmentations.items():
        found[name] = _nifti(labels, steps, affine)
    return found


def _nifti(voxels: np.ndarray, steps: tuple[int, ...], affine: np.ndarray) -> bytes:
    import nibabel

    x, y, z = steps
    native = voxels[::x, ::y, ::z]
    image = nibabel.Nifti1Image(native.astype(native.dtype.newbyteorder("=")), affine)
    return bytes(image.to_bytes())


def niivue_page(
    case: ShownCase, number: int, links: Sequence[Link], files: dict[str, str], script: str
) -> str:
    """The HTML of a case of `links`. files: {name: address}; script: that of NiiVue."""
    description = {
        "script": script,
        "files": files,
        "window": case.window,
        "radiological": case.mirrored,
        "centre": _centre(case),
        "regions": [
            {"name": name, "values": values, "colour": region_colour(position)}
            for position, (name, values) in enumerate(case.regions.items())
        ],
        "errors": ERROR_COLOURS,
        "number": number,
        "count": len(links),
    }
    return render(
        "viewer/niivue.html",
        case=case,
        number=number,
        links=links,
        headings=headings(case),
        rows=region_rows(case),
        errors=ERROR_COLOURS,
        description=description,
    )


def _centre(case: ShownCase) -> list[float]:
    """Where the planes meet, as shares of the volume towards right, anterior and superior."""
    return [
        (start + offset + 0.5) / size
        for start, offset, size in zip(case.centre(), case.offset, case.full_shape, strict=True)
    ]
