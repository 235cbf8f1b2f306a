"""What a network says of a voxel in one number, its code; codes to label values and back.

A code is the index of the class, or of regions a bit each: one byte a voxel where logits take four
an output.
"""

from __future__ import annotations

import numpy as np

from unet3d.config import PostprocessConfig
from unet3d.data.targets import Targets
from unet3d.inference.postprocess import postprocess


def code_type(targets: Targets) -> np.dtype:
    """The smallest type of a code."""
    outputs = len(targets.names)
    return np.min_scalar_type(outputs - 1 if targets.exclusive else 2**outputs - 1)


def encode(logits: np.ndarray, targets: Targets) -> np.ndarray:
    """Codes (...) of logits (..., outputs): the largest logit's class, or the regions above 0."""
    kind = code_type(targets)
    if targets.exclusive:
        return np.argmax(logits, axis=-1).astype(kind)
    codes: np.ndarray = np.zeros(logits.shape[:-1], kind)
    for output in range(logits.shape[-1]):
        codes |= (logits[..., output] > 0).astype(kind) << kind.type(output)
    return codes


def labels_of(codes: np.ndarray, targets: Targets) -> np.ndarray:
    """Label values, uint8, of codes of any shape.

    Regions overlap, and a network may predict what no label has, a core outside the whole tumour.
    A voxel gets the label whose regions differ in the fewest outputs; of several the one that is
    in most regions, which is how nested regions are read from the outside in.
    """
    found, index = np.unique(codes, return_inverse=True)
    values = np.array([_label(int(code), targets) for code in found], np.uint8)
    return values[index].reshape(codes.shape)


def _label(code: int, targets: Targets) -> int:
    if targets.exclusive:
        return int(np.flatnonzero(targets.table[:, code])[0])
    bits = np.array([code >> output & 1 for output in range(len(targets.names))])

    def misfit(value: int) -> tuple[int, int]:
        row: np.ndarray = targets.table[value].astype(int)
        return int(np.abs(row - bits).sum()), -int(row.sum())

    return min([0, *(v for v in range(1, 256) if targets.table[v].any())], key=misfit)


def postprocess_codes(
    codes: np.ndarray, targets: Targets, spacing: tuple[float, ...], settings: PostprocessConfig
) -> None:
    """Post-process each region or class (x, y, z) in place; spacing: mm.

    Of classes, what is removed becomes background, and a hole is filled where background is.
    """
    if settings == PostprocessConfig():
        return
    kind = codes.dtype.type
    for output in range(1 if targets.exclusive else 0, len(targets.names)):
        bit = kind(output) if targets.exclusive else kind(1) << kind(output)
        before = codes == bit if targets.exclusive else (codes & bit) > 0
        after = postprocess(before, spacing, settings)
        if targets.exclusive:
            codes[before & ~after] = 0
            codes[after & (codes == 0)] = bit
        else:
            codes[before & ~after] &= ~bit
            codes[after] |= bit
