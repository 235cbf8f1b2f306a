"""Data sets in the Medical Segmentation Decathlon layout (Antonelli et al. 2022): dataset.json."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from unet3d.data.errors import DataError

SUFFIXES = (".nii.gz", ".nii")


@dataclass(frozen=True)
class Case:
    """A labelled case: the paths of its files as dataset.json writes them."""

    id: str
    image: str
    label: str


@dataclass(frozen=True)
class Dataset:
    """What dataset.json says; `labels` holds the foreground's values only."""

    root: Path
    channels: tuple[str, ...]
    labels: dict[int, str]
    cases: tuple[Case, ...]

    def file(self, relative: str) -> Path:
        """The path of a file of the data set; DataError where it lies outside the folder."""
        path = self.root / relative
        if not path.resolve().is_relative_to(self.root.resolve()):
            raise DataError(f"{relative}: leads outside the data set's folder {self.root}")
        return path


def read_dataset(root: Path) -> Dataset:
    """Read `root`/dataset.json; DataError when it is missing, malformed or names a case twice."""
    path = Path(root) / "dataset.json"
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise DataError(
            f"{path}: {error.strerror}; data.root must be a folder in the Decathlon layout, "
            "which `unet3d download` can fetch"
        ) from error
    except ValueError as error:
        raise DataError(f"{path}: not valid JSON ({error})") from error
    missing = [
        key
        for key in ("modality", "labels", "training")
        if not isinstance(found, dict) or key not in found
    ]
    if missing:
        raise DataError(f"{path}: lacks the key {missing[0]!r}")
    cases = tuple(sorted(_cases(path, found["training"]), key=lambda case: case.id))
    channels = _numbered(path, "modality", found["modality"])
    labels = _numbered(path, "labels", found["labels"])
    wrong = [value for value in labels if not 0 <= value <= 255]
    if wrong:
        raise DataError(f"{path}: label value {wrong[0]} is not from 0 to 255")
    foreground = {value: labels[value] for value in sorted(labels) if value != 0}
    if not foreground:
        raise DataError(f"{path}: 'labels' names no value beside the background, 0")
    if sorted(channels) != list(range(len(channels))) or not channels:
        raise DataError(f"{path}: the keys of 'modality' must count 0, 1, 2, ...")
    names = tuple(channels[index] for index in range(len(channels)))
    return Dataset(Path(root), names, foreground, cases)


def _numbered(path: Path, key: str, found: Any) -> dict[int, str]:
    try:
        return {int(number): str(name) for number, name in found.items()}
    except (AttributeError, ValueError) as error:
        raise DataError(
            f'{path}: {key!r} must map numbers to names, as in {{"0": "T1"}}'
        ) from error


def _cases(path: Path, training: Any) -> list[Case]:
    if not isinstance(training, list) or not training:
        raise DataError(f"{path}: 'training' must be a list with at least one case")
    cases: dict[str, Case] = {}
    for entry in training:
        try:
            image, label = str(entry["image"]), str(entry["label"])
        except (KeyError, TypeError) as error:
            raise DataError(
                f"{path}: each entry of 'training' needs 'image' and 'label', unlike {entry}"
            ) from error
        case = Case(_case_id(path, image), image, label)
        if case.id in cases:
            raise DataError(
                f"{path}: two cases are called {case.id}: {cases[case.id].image} and {image}"
            )
        cases[case.id] = case
    return list(cases.values())


def _case_id(path: Path, image: str) -> str:
    name = Path(image).name
    for suffix in SUFFIXES:
        if name.endswith(suffix) and len(name) > len(suffix) and not name.startswith("."):
            return name[: -len(suffix)]
    raise DataError(f"{path}: {image!r} is not the name of a .nii.gz or .nii file")
