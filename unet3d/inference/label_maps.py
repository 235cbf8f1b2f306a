"""What a network predicts for a voxel as one number, its code, and codes as label values.

A code is the index of a class, or has one bit per region: one byte per voxel, where logits take
four bytes per output.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from unet3d.config.schema import PostprocessConfig
from unet3d.masks import largest_part, without_dust
from unet3d.sampling.targets import Targets


def code_type(targets: Targets) -> np.dtype:
    """The smallest integer type that holds a code."""
    outputs = len(targets.names)
    return np.min_scalar_type(outputs - 1 if targets.exclusive else 2**outputs - 1)


def encode(logits: np.ndarray, targets: Targets, cuts: Sequence[float] = ()) -> np.ndarray:
    """Codes (...) of logits (..., outputs): the class of the largest, or the regions above 0.

    cuts: for each region the logit above which it is predicted, instead of 0.
    """
    kind = code_type(targets)
    if targets.exclusive:
        return np.argmax(logits, axis=-1).astype(kind)
    codes: np.ndarray = np.zeros(logits.shape[:-1], kind)
    for output in range(logits.shape[-1]):
        above = logits[..., output] > (cuts[output] if cuts else 0)
        codes |= above.astype(kind) << kind.type(output)
    return codes


def labels_of(codes: np.ndarray, targets: Targets) -> np.ndarray:
    """Label values, uint8, of codes of any shape.

    Regions overlap, and a network may predict a combination that no label has, such as a core
    outside the whole tumour. A voxel gets the label whose regions differ in the fewest outputs; of
    several, the one in most regions, so that nested regions are read from the outside in.
    """
    found, index = np.unique(codes, return_inverse=True)
    values = np.array([_nearest_label(int(code), targets) for code in found], np.uint8)
    return values[index].reshape(codes.shape)


def _nearest_label(code: int, targets: Targets) -> int:
    if targets.exclusive:
        return int(np.flatnonzero(targets.table[:, code])[0])
    bits = np.array([code >> output & 1 for output in range(len(targets.names))])

    def misfit(value: int) -> tuple[int, int]:
        row: np.ndarray = targets.table[value].astype(int)
        return int(np.abs(row - bits).sum()), -int(row.sum())

    return min([0, *(v for v in range(1, 256) if targets.table[v].any())], key=misfit)


def postprocess_codes(
    codes: np.ndarray,
    targets: Targets,
    spacing: tuple[float, ...],
    each: Sequence[PostprocessConfig],
) -> None:
    """Post-process each region or class (x, y, z) in place; spacing: mm.

    each: what is done to each output; that of a softmax's background has no effect. With classes,
    removed voxels become background, and holes are filled only where background is.
    """
    kind = codes.dtype.type
    for output in range(1 if targets.exclusive else 0, len(targets.names)):
        settings = each[output]
        if not (settings.fill_holes or settings.min_volume or settings.largest):
            continue
        bit = kind(output) if targets.exclusive else kind(1) << kind(output)
        before = codes == bit if targets.exclusive else (codes & bit) > 0
        after = postprocess(before, spacing, settings)
        if targets.exclusive:
            codes[before & ~after] = 0
            codes[after & (codes == 0)] = bit
        else:
            codes[before & ~after] &= ~bit
            codes[after] |= bit


def postprocess(
    mask: np.ndarray, spacing: tuple[float, ...], settings: PostprocessConfig
) -> np.ndarray:
    """Fill holes, remove small parts, keep the largest, as configured.

    mask: boolean (x, y, z), not modified; spacing: mm. Parts connect over faces, edges and
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
    """The mask with its holes, enclosed on all sides, filled."""
    from scipy import ndimage

    return ndimage.binary_fill_holes(mask)
