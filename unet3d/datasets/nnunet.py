"""Data sets in the raw layout of nnU-Net v2 (Isensee et al. 2021), and its splits_final.json."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

from unet3d.datasets.dataset import (
    Case,
    Dataset,
    Fold,
    checked_cases,
    checked_labels,
    is_path,
    short,
)
from unet3d.datasets.decathlon import numbered_channels, read_decathlon
from unet3d.datasets.image_files import SUFFIXES, case_of_numbered, numbered
from unet3d.datasets.json_files import read_json
from unet3d.datasets.layouts import read_description
from unet3d.errors import DataError

SPLITS = "splits_final.json"
IGNORE, BACKGROUND = "ignore", "background"


def read_nnunet(root: Path, splits: Path | None = None) -> Dataset:
    """Read a folder such as nnUNet_raw/Dataset001_X; that of version 1 is read as the Decathlon's.

    splits: a splits_final.json; None: the one beside dataset.json or in nnUNet_preprocessed, if
    there is one. Raises DataError for a description that is missing or malformed.
    """
    root = Path(root)
    path = root / "dataset.json"
    found = read_description(path)
    if isinstance(found, dict) and "channel_names" not in found and "training" in found:
        dataset = read_decathlon(root)
        return _with_folds(dataset, splits)
    for key in ("channel_names", "labels", "file_ending"):
        if not isinstance(found, dict) or key not in found:
            raise DataError(f"{path}: lacks the key {key!r} of nnU-Net's dataset.json")
    channels = numbered_channels(path, "channel_names", found["channel_names"])
    labels, regions, ignore = _labels(path, found["labels"], found.get("regions_class_order"))
    ending = _file_ending(path, found["file_ending"])
    if "dataset" in found:
        cases = _listed_cases(path, found["dataset"], len(channels))
    else:
        cases = _cases_in_folders(path, ending, len(channels))
    dataset = Dataset(
        root,
        path,
        channels,
        labels,
        checked_cases(path, cases),
        regions,
        ignore,
        anywhere="dataset" in found,
    )
    return _with_folds(dataset, splits)


def _file_ending(path: Path, ending: Any) -> str:
    if ending not in SUFFIXES:
        raise DataError(
            f"{path}: 'file_ending' is {short(ending)}; choose one of {', '.join(SUFFIXES)}"
        )
    return str(ending)


def _labels(
    path: Path, found: Any, order: Any
) -> tuple[dict[int, str], dict[str, list[int]] | None, int | None]:
    """Names of label values, regions where any name has several values, and the value to ignore."""
    if not isinstance(found, dict):
        raise DataError(f"{path}: 'labels' must map names to label values")
    values = {str(name): _values(path, name, value) for name, value in found.items()}
    ignored = values.pop(IGNORE, None)
    if ignored is not None and len(ignored) != 1:
        raise DataError(f"{path}: 'labels' names {len(ignored)} values to ignore; it must be one")
    values = {name: given for name, given in values.items() if given != [0]}
    ignore = ignored[0] if ignored else None
    if all(len(given) == 1 for given in values.values()):
        by_value = {given[0]: name for name, given in values.items()}
        if len(by_value) < len(values):
            raise DataError(f"{path}: 'labels' gives one value to two names")
        return checked_labels(path, by_value), None, ignore
    known = sorted({value for given in values.values() for value in given if value != 0})
    names = {value: f"label {value}" for value in known}
    if order is not None:
        if not isinstance(order, list) or len(order) != len(values):
            raise DataError(
                f"{path}: 'regions_class_order' must list a label value for each of the "
                f"{len(values)} regions, unlike {short(order)}"
            )
        # The label that a voxel of a region gets is what only the region's own part has.
        names |= {v: name for v, name in zip(order, values, strict=True) if v in names}
    return checked_labels(path, names), values, ignore


def _values(path: Path, name: Any, value: Any) -> list[int]:
    values = value if isinstance(value, list) else [value]
    if not values or not all(type(v) is int for v in values):
        raise DataError(
            f"{path}: label {short(name)} is {short(value)}; it must be a label value or a list "
            "of them"
        )
    return list(values)


def _listed_cases(path: Path, listed: Any, channels: int) -> list[Case]:
    if not isinstance(listed, dict):
        raise DataError(f"{path}: 'dataset' must map each case to its images and label")
    cases = []
    for name, entry in listed.items():
        fields = entry if isinstance(entry, dict) else {}
        images, label = fields.get("images"), str(fields.get("label", ""))
        if not isinstance(images, list) or not all(map(is_path, [*images, label])):
            raise DataError(f"{path}: case {short(name)} needs 'images', a list, and 'label'")
        if len(images) not in (1, channels):
            raise DataError(
                f"{path}: case {short(name)} has {len(images)} images; 'channel_names' names "
                f"{channels}"
            )
        cases.append(Case(str(name), tuple(images), label))
    return cases


def _cases_in_folders(path: Path, ending: str, channels: int) -> list[Case]:
    """The cases of imagesTr; a file that a case lacks is named when its header is read."""
    folder = path.parent / "imagesTr"
    try:
        names = sorted(entry.name for entry in folder.iterdir() if entry.name[0] != ".")
    except OSError as error:
        raise DataError(f"{folder}: {error.strerror}") from error
    found = {case for name in names if (case := case_of_numbered(name, ending))}
    more = [
        name
        for name in names
        if case_of_numbered(name, ending) and int(name.removesuffix(ending)[-4:]) >= channels
    ]
    if more:
        raise DataError(
            f"{folder / more[0]}: 'channel_names' in {path} names {channels} channels, 0000 to "
            f"{channels - 1:04d}; name this one, or remove the file"
        )
    if not found:
        raise DataError(
            f"{folder}: contains no file that ends in _0000{ending}, as 'file_ending' in {path} "
            f"says; {f'it has {names[0]}' if names else 'it is empty'}"
        )
    return [
        Case(
            name,
            tuple(numbered(f"imagesTr/{name}{ending}", c) for c in range(channels)),
            f"labelsTr/{name}{ending}",
        )
        for name in sorted(found)
    ]


def _with_folds(dataset: Dataset, splits: Path | None) -> Dataset:
    root = dataset.root.absolute()
    places = (root / SPLITS, root.parent.parent / "nnUNet_preprocessed" / root.name / SPLITS)
    for path in places if splits is None else (splits,):
        if splits is not None or path.is_file():
            return replace(dataset, folds=read_splits(path, {case.id for case in dataset.cases}))
    return dataset


def read_splits(path: Path, cases: set[str]) -> tuple[Fold, ...]:
    """The folds of a splits_final.json. Raises DataError where they do not fit `cases`."""
    try:
        found = read_json(path)
    except (FileNotFoundError, NotADirectoryError) as error:
        raise DataError(f"{path}: no such file; data.splits must be a {SPLITS}") from error
    if not isinstance(found, list) or not found:
        raise DataError(f"{path}: must be a list of folds, each with 'train' and 'val'")
    folds: list[Fold] = []
    for number, fold in enumerate(found):
        fields = fold if isinstance(fold, dict) else {}
        listed = fields.get("train"), fields.get("val")
        if not all(isinstance(part, list) and part for part in listed):
            raise DataError(f"{path}: fold {number} needs 'train' and 'val', lists of cases")
        train, val = (tuple(sorted(map(str, part or ()))) for part in listed)
        unknown = sorted({*train, *val} - cases)
        if unknown:
            raise DataError(f"{path}: fold {number} names {unknown[0]}, which is not in the data")
        both = sorted(set(train) & set(val))
        if both:
            raise DataError(f"{path}: fold {number} has {both[0]} to train and to validate on")
        folds.append((train, val))
    return tuple(folds)
