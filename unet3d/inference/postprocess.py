"""Anatomy's common sense, applied to each predicted region: connected parts and holes."""

from __future__ import annotations

import math

import numpy as np

from unet3d.config import PostprocessConfig


def postprocess(
    regions: np.ndarray, spacing: tuple[float, ...], settings: PostprocessConfig
) -> np.ndarray:
    """Fill holes, remove small parts, keep the largest, as configured.

    regions: boolean (x, y, z, outputs); spacing: mm. Returns a new array of the same shape. Parts
    are connected over faces, edges and corners.
    """
    result: np.ndarray = regions.copy()
    least = math.ceil(settings.min_volume / math.prod(spacing))
    for output in range(regions.shape[-1]):
        mask = result[..., output]
        if not mask.any():
            continue
        if settings.fill_holes:
            mask = filled(mask)
        if least > 1:
            mask = without_dust(mask, least)
        if settings.largest:
            mask = largest_part(mask)
        result[..., output] = mask
    return result


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
