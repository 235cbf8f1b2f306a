"""Data sets in the Medical Segmentation Decathlon layout (Antonelli et al. 2022): dataset.json.

Also the first version of nnU-Net, whose dataset.json is the same, with a file for each sequence.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

from unet3d.datasets.dataset import Case, Dataset, checked_cases, checked_labels, is_path, short
from unet3d.datasets.image_files import numbered, without_suffix
from unet3d.datasets.layouts import describe_json, read_description
from unet3d.errors import DataError


def read_decathlon(root: Path) -> Dataset:
    """Read `root`/dataset.json; DataError when it is missing, malformed or names a case twice."""
    path = Path(root) / "dataset.json"
    found = read_description(path)
    missing = [
        key
        for key in ("modality", "labels", "training")
        if not isinstance(found, dict) or key not in found
    ]
    if missing:
        other = describe_json(found)
        raise DataError(f"{path}: lacks the key {missing[0]!r}" + (f"; {other}" if other else ""))
    channels = numbered_channels(path, "modality", found["modality"])
    cases = checked_cases(path, _cases(path, found["training"], len(channels)))
    labels = checked_labels(path, _numbered(path, "labels", found["labels"]))
    return Dataset(Path(root), path, channels, labels, cases)


def numbered_channels(path: Path, key: str, found: Any) -> tuple[str, ...]:
    """The names of the sequences of {"0": name, ...}. Raises DataError for other keys."""
    channels = _numbered(path, key, found)
    if sorted(channels) != list(range(len(channels))) or not channels:
        raise DataError(f"{path}: the keys of {key!r} must count 0, 1, 2, ...")
    return tuple(channels[index] for index in range(len(channels)))


def _numbered(path: Path, key: str, found: Any) -> dict[int, str]:
    names: dict[int, str] = {}
    for number, name in found.items() if isinstance(found, dict) else [(None, None)]:
        if not (isinstance(number, str) and re.fullmatch(r"-?[0-9]{1,9}", number.strip())):
            swapped = ", not names to numbers as in nnU-Net's" if isinstance(name, int) else ""
            raise DataError(
                f'{path}: {key!r} must map numbers to names, as in {{"0": "T1"}}{swapped}'
            )
        if int(number) in names:
            raise DataError(f"{path}: {key!r} names {int(number)} twice")
        names[int(number)] = str(name)
    return names


def _cases(path: Path, training: Any, channels: int) -> list[Case]:
    if not isinstance(training, list) or not training:
        raise DataError(f"{path}: 'training' must be a list with at least one case")
    cases = []
    for entry in training:
        try:
            image, label = entry["image"], entry["label"]
        except (KeyError, TypeError) as error:
            raise DataError(
                f"{path}: each entry of 'training' needs 'image' and 'label', unlike {short(entry)}"
            ) from error
        for file in (image, label):
            if not is_path(file):
                raise DataError(f"{path}: {short(file)} in 'training' is not the path of a file")
        name = without_suffix(image)
        if name is None:
            raise DataError(f"{path}: {short(image)} is not the name of a .nii.gz or .nii file")
        cases.append(Case(name, _image_files(path.parent, image, channels), label))
    return cases


def _image_files(root: Path, image: str, channels: int) -> tuple[str, ...]:
    """The file of a case; of nnU-Net's first version those that end in _0000, _0001, ..."""
    files = tuple(numbered(image, channel) for channel in range(channels))
    if not (root / image).exists() and (root / files[0]).exists():
        return files
    return (image,)
