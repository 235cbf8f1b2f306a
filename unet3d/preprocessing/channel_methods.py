"""How each sequence is normalised: as data.normalize says, or as its name or its values suggest."""

from __future__ import annotations

import logging
import re
from dataclasses import replace
from functools import lru_cache
from pathlib import Path

import numpy as np

from unet3d.config.schema import NORMALIZE, DataConfig
from unet3d.datasets.dataset import Dataset
from unet3d.datasets.dicom import series_modality
from unet3d.datasets.nifti import to_file_units
from unet3d.datasets.volumes import read_voxels
from unet3d.errors import ConfigError, DataError

log = logging.getLogger(__name__)
CT_NAME = re.compile(r"(^|[^a-z])(ct|cta|ctp|cect|ncct|cbct|hu)([^a-z]|$)")
# Names of sequences that are certainly no CT, so that no volume has to be looked at.
OTHER_NAME = re.compile(
    r"t1|t2|flair|adc|dwi|dti|swi|pdw?$|^pd|mra?i?$|mr[^a-z]|bold|perf|suv|pet|us$|ultrasound|micro"
)
# nnU-Net's dataset.json may name a method in place of a sequence.
NNUNET_NAMES = {"nonorm": "none", "zscore": "zscore"}
AIR = -300.0  # HU: a scan in these units has values below it
MOST_HU = 70_000.0  # metal, with room to spare


def with_methods(data: DataConfig, dataset: Dataset) -> DataConfig:
    """`data` with data.normalize as a list, a method for each sequence of the data set.

    Raises ConfigError for a list of another length.
    """
    given = data.normalize
    if isinstance(given, list):
        if len(given) != len(dataset.channels):
            if data.plans:
                raise ConfigError(
                    f"data.plans: {data.plans} is of a data set with {len(given)} sequences; this "
                    f"one has {len(dataset.channels)}: {', '.join(dataset.channels)}"
                )
            raise ConfigError(
                f"data.normalize: {given} names {len(given)} methods; the data set has "
                f"{len(dataset.channels)} sequences: {', '.join(dataset.channels)}"
            )
        chosen = given
    else:
        chosen = [given] * len(dataset.channels)
    methods = [
        _method(dataset, index) if method == "auto" else method
        for index, method in enumerate(chosen)
    ]
    assert set(methods) <= set(NORMALIZE)
    return replace(data, normalize=methods)


def _method(dataset: Dataset, channel: int) -> str:
    name = dataset.channels[channel].strip().lower()
    if name in NNUNET_NAMES:
        return NNUNET_NAMES[name]
    if modality := _modality(dataset, channel):
        method = "ct" if modality == "CT" else "zscore"
        log.info(
            "data: sequence %s is normalised as %s, as its DICOM series are %s; data.normalize "
            "chooses otherwise",
            dataset.channels[channel],
            method,
            modality,
        )
        return method
    if CT_NAME.search(name):
        return "ct"
    if OTHER_NAME.search(name):
        return "zscore"
    case = dataset.cases[0]
    try:
        method = _by_values(dataset.images(case), channel)
    except DataError:  # named, with all the others, when the headers are checked
        return "zscore"
    if method == "ct":
        log.info(
            "data: sequence %s is taken as CT, as its values in case %s are Hounsfield units; "
            "data.normalize=zscore treats it otherwise",
            dataset.channels[channel],
            case.id,
        )
    return method


def _modality(dataset: Dataset, channel: int) -> str:
    """The modality of a sequence's DICOM series; "" where its images are files or do not say it.

    Raises DataError for a sequence that is CT in some cases and not in others.
    """
    found: dict[bool, tuple[Path, str]] = {}
    for case in dataset.cases:
        files = dataset.images(case)
        path = files[channel] if len(files) > 1 else files[0]
        if not path.is_dir():
            continue
        try:
            modality = series_modality(path)
        except DataError:  # named, with all the others, when the headers are checked
            continue
        if modality:
            found.setdefault(modality == "CT", (path, modality))
    if len(found) > 1:
        (one, its), (other, others) = found[True], found[False]
        raise DataError(
            f"{other}: its modality is {others}, that of {one} {its}, for one sequence, "
            f"{dataset.channels[channel]}; leave one of the cases out, or set data.normalize"
        )
    return next(iter(found.values()))[1] if found else ""


@lru_cache(maxsize=64)
def _by_values(files: tuple[Path, ...], channel: int) -> str:
    """ct for whole numbers with air well below 0, in the range of Hounsfield units."""
    path = files[channel] if len(files) > 1 else files[0]
    voxels, header = read_voxels(path)
    values = to_file_units(voxels if voxels.ndim == 3 else voxels[..., channel], header)
    low, high = float(values.min()), float(values.max())
    if not (-MOST_HU < low < AIR and 0 < high < MOST_HU):
        return "zscore"
    sample = values.ravel(order="K")[:: max(1, values.size // 10_000)]
    return "ct" if np.array_equal(sample, np.rint(sample)) else "zscore"
