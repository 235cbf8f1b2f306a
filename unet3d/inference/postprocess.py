"""Anatomy's common sense, applied to a predicted region: connected parts and holes."""

from __future__ import annotations

import math

import numpy as np

from unet3d.config import PostprocessConfig


def postprocess(
    mask: np.ndarray, spacing: tuple[float, ...], settings: PostprocessConfig
) -> np.ndarray:
    """Fill holes, remove small parts, keep the largest, as configured.

    mask: boolean (x, y, z), left as it is; spacing: mm. Parts are connected over faces, edges and
    corners.
    """
    if not mask.any():
        return mask
    least = math.ceil(settings.min_volume / math.prod(spacing))
    if settings.fill_holes:
        mask = filled(mask)
    if least > 1:
        mask = without_dust(mask, least)
    if settings.largest:
        mask = largest_part(mask)
    return mask


def filled(mask: np.ndarray) -> np.ndarray:
    """The mask with the holes that it encloses on all sides."""
    from scipy import ndimage

    return ndimage.binary_fill_holes(mask)


def without_dust(mask: np.ndarray, voxels: int) -> np.ndarray:
    """The mask without connected parts of fewer than `voxels`."""
    import cc3d

    return cc3d.dust(mask, threshold=voxels, connectivity=26, in_place=False).astype(bool)


def largest_part(mask: np.ndarray) -> np.ndarray:
    """The largest connected part of the mask."""
    import cc3d

    return cc3d.largest_k(mask, k=1, connectivity=26).astype(bool)
