"""What is kept of a case's labelled voxels: where some of them lie, and values of some."""

from __future__ import annotations

import zlib
from typing import Any

import numpy as np

from unet3d.datasets.nifti import Header, to_file_units

FOREGROUND_SAMPLE = 10_000  # foreground voxels kept per label
LABELLED_SAMPLE = 1000  # values of labelled voxels kept of a case


def labelled_samples(
    channels: list[tuple[np.ndarray, Header]],
    label: np.ndarray,
    methods: Any,
    ignore: int | None,
    case_id: str,
) -> dict[int, list[float]]:
    """Values of labelled voxels of each sequence that is normalised as CT, in the file's units.

    A reproducible sample of at most LABELLED_SAMPLE, with as many from each case as nnU-Net takes.
    """
    wanted = [i for i, m in enumerate(methods) if m == "ct"] if isinstance(methods, list) else []
    if not wanted:
        return {}
    chosen = np.flatnonzero(((label != 0) & (label != ignore)).ravel(order="F"))
    if len(chosen) > LABELLED_SAMPLE:
        random = np.random.Generator(np.random.Philox(zlib.crc32(case_id.encode())))
        chosen = np.sort(random.choice(chosen, LABELLED_SAMPLE, replace=False))
    places = np.unravel_index(chosen, label.shape, order="F")
    return {
        index: to_file_units(channels[index][0][places], channels[index][1]).tolist()
        for index in wanted
    }


def foreground_index(
    label: np.ndarray, case_id: str, ignore: int | None = None
) -> tuple[dict[int, np.ndarray], dict[int, int]]:
    """Where each label value lies in a case, and how often it occurs; without that to ignore.

    Returns {value: sorted (n, 3) voxel indices}, a reproducible sample of at most
    FOREGROUND_SAMPLE each, and {value: number of voxels}.
    """
    flat = np.flatnonzero(label)
    values = label.reshape(-1)[flat]
    kind = np.int16 if max(label.shape) <= np.iinfo(np.int16).max else np.int32
    found, counts = {}, {}
    for value in sorted({*np.unique(values).tolist()} - {ignore}):
        voxels = flat[values == value]
        counts[value] = len(voxels)
        if len(voxels) > FOREGROUND_SAMPLE:
            seed = [zlib.crc32(case_id.encode()), value]
            random = np.random.Generator(np.random.Philox(np.random.SeedSequence(seed)))
            voxels = np.sort(random.choice(voxels, FOREGROUND_SAMPLE, replace=False))
        found[value] = np.stack(np.unravel_index(voxels, label.shape), axis=1).astype(kind)
    return found, counts
