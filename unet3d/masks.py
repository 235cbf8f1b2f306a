"""Connected parts of masks and distances to them: by edt and cc3d, or slower by SciPy.

Both libraries are under the LGPL. Where one is not installed, SciPy computes the same values.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache
from importlib.util import find_spec

import numpy as np


def connected_parts(mask: np.ndarray) -> tuple[np.ndarray, int]:
    """The 26-connected parts of a boolean mask (x, y, z), numbered from 1, and their number."""
    if installed("cc3d"):
        import cc3d

        parts, number = cc3d.connected_components(mask, connectivity=26, return_N=True)
        return parts, int(number)
    from scipy import ndimage

    parts, number = ndimage.label(mask, ndimage.generate_binary_structure(3, 3))
    return parts, int(number)


def without_dust(mask: np.ndarray, voxels: int) -> np.ndarray:
    """The mask without connected parts of fewer than `voxels`."""
    if installed("cc3d"):
        import cc3d

        return cc3d.dust(mask, threshold=voxels, connectivity=26, in_place=False).astype(bool)
    parts, number = connected_parts(mask)
    large = np.bincount(parts.ravel(), minlength=number + 1) >= voxels
    large[0] = False
    return large[parts]


def largest_part(mask: np.ndarray) -> np.ndarray:
    """The largest connected part of the mask; of several, the one with the first voxel."""
    parts, number = connected_parts(mask)
    if number == 0:
        return np.zeros_like(mask, dtype=bool)
    sizes = np.bincount(parts.ravel())
    sizes[0] = 0
    candidates = np.flatnonzero(sizes == sizes.max())
    if candidates.size > 1:  # the libraries number the parts in different orders
        flat = parts.ravel()
        return parts == flat[np.isin(flat, candidates).argmax()]
    return parts == candidates[0]


def squared_distances(mask: np.ndarray, spacing: Sequence[float]) -> np.ndarray:
    """mm^2 from each voxel's centre to the nearest voxel that is not in the mask; 0 outside it.

    Relative error: 1e-6.
    """
    if installed("edt"):
        import edt

        # Squares, because whole numbers of mm^2 are exact in float32 while their roots are not.
        # Booleans as bytes, for which `edt` takes a third less time.
        return edt.edtsq(mask.view(np.uint8), anisotropy=tuple(spacing), parallel=1)
    from scipy import ndimage

    # From the indices of the nearest voxel: the square of a root would not be exact.
    nearest = ndimage.distance_transform_edt(
        mask, sampling=spacing, return_distances=False, return_indices=True
    )
    squares = np.zeros(mask.shape)
    for axis, size in enumerate(mask.shape):
        shape = [size if at == axis else 1 for at in range(mask.ndim)]
        steps = nearest[axis] - np.arange(size).reshape(shape)
        squares += (steps * spacing[axis]) ** 2
    return squares


@cache
def installed(module: str) -> bool:
    """Whether a library can be imported."""
    return find_spec(module) is not None
