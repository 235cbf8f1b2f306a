"""Data sets in the Medical Segmentation Decathlon layout (Antonelli et al. 2022): dataset.json."""

from __future__ import annotations

import json
import os
import re
import unicodedata
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any

from unet3d.datasets.layouts import describe_folder, describe_json
from unet3d.errors import DataError

MOST_BYTES = 64_000_000  # of dataset.json
NIFTI_SUFFIXES = (".nii.gz", ".nii")


@dataclass(frozen=True)
class Case:
    """A labelled case: the paths of its files as dataset.json writes them."""

    id: str
    image: str
    label: str


@dataclass(frozen=True)
class Dataset:
    """The content of dataset.json; `labels` has the foreground values only."""

    root: Path
    channels: tuple[str, ...]
    labels: dict[int, str]
    cases: tuple[Case, ...]

    def file(self, relative: str) -> Path:
        """The path of a file of the data set; DataError where that names one outside the folder.

        A symbolic link within the folder may lead anywhere: its owner made it, not dataset.json.
        """
        path = PurePosixPath(relative)
        if path.is_absolute() or ".." in path.parts:
            raise DataError(f"{relative}: lies outside the data set's folder {self.root}")
        return self.root / relative


def read_dataset(root: Path) -> Dataset:
    """Read `root`/dataset.json; DataError when it is missing, malformed or names a case twice."""
    path = Path(root) / "dataset.json"
    found = _read_json(path)
    missing = [
        key
        for key in ("modality", "labels", "training")
        if not isinstance(found, dict) or key not in found
    ]
    if missing:
        other = describe_json(found)
        raise DataError(f"{path}: lacks the key {missing[0]!r}" + (f"; {other}" if other else ""))
    cases = tuple(sorted(_cases(path, found["training"]), key=lambda case: case.id))
    channels = _numbered(path, "modality", found["modality"])
    labels = _numbered(path, "labels", found["labels"])
    wrong = [value for value in labels if not 0 <= value <= 255]
    if wrong:
        raise DataError(f"{path}: label value {wrong[0]} is not between 0 and 255")
    foreground = {value: labels[value] for value in sorted(labels) if value != 0}
    if not foreground:
        raise DataError(f"{path}: 'labels' names no value besides the background, 0")
    if sorted(channels) != list(range(len(channels))) or not channels:
        raise DataError(f"{path}: the keys of 'modality' must count 0, 1, 2, ...")
    names = tuple(channels[index] for index in range(len(channels)))
    return Dataset(Path(root), names, foreground, cases)


def _read_json(path: Path) -> Any:
    try:
        size = path.stat().st_size
        if size > MOST_BYTES:
            raise DataError(f"{path}: {size} bytes; a list of cases has less than {MOST_BYTES}")
        return json.loads(path.read_bytes().decode("utf-8-sig"), object_pairs_hook=_once_each)
    except (FileNotFoundError, NotADirectoryError) as error:
        raise DataError(f"{path}: {describe_folder(path.parent)}") from error
    except OSError as error:
        raise DataError(f"{path}: {error.strerror}") from error
    except DataError as error:
        raise DataError(str(error) if str(path) in str(error) else f"{path}: {error}") from error
    except RecursionError as error:
        raise DataError(f"{path}: not valid JSON (nested too deeply)") from error
    except ValueError as error:
        raise DataError(f"{path}: not valid JSON ({_short(error, str)})") from error


def _once_each(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) < len(pairs):
        twice = next(key for key in found if sum(key == other for other, _ in pairs) > 1)
        raise DataError(f"the key {_short(twice)} is given twice")
    return found


def _short(value: Any, text: Callable[[Any], str] = repr) -> str:
    """A value for a message of one line."""
    shown = " ".join(text(value).split())
    return shown if len(shown) <= 100 else f"{shown[:100]}..."


def _is_path(text: str) -> bool:
    try:
        return b"\0" not in os.fsencode(text)
    except UnicodeError:  # half of a pair of code units
        return False


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


def _cases(path: Path, training: Any) -> list[Case]:
    if not isinstance(training, list) or not training:
        raise DataError(f"{path}: 'training' must be a list with at least one case")
    cases: dict[str, Case] = {}
    for entry in training:
        try:
            image, label = entry["image"], entry["label"]
        except (KeyError, TypeError) as error:
            raise DataError(
                f"{path}: each entry of 'training' needs 'image' and 'label', unlike "
                f"{_short(entry)}"
            ) from error
        for file in (image, label):
            if not isinstance(file, str) or not _is_path(file):
                raise DataError(f"{path}: {_short(file)} in 'training' is not the path of a file")
        case = Case(_case_id(path, image), image, label)
        same = unicodedata.normalize("NFC", case.id).casefold()  # one file on some file systems
        if same in cases:
            raise DataError(
                f"{path}: two cases are called {case.id}: {cases[same].image} and {image}"
            )
        cases[same] = case
    return list(cases.values())


def _case_id(path: Path, image: str) -> str:
    name = Path(image).name
    for suffix in NIFTI_SUFFIXES:
        if name.endswith(suffix) and len(name) > len(suffix) and not name.startswith("."):
            return name[: -len(suffix)]
    raise DataError(f"{path}: {_short(image)} is not the name of a .nii.gz or .nii file")
