"""A list of cases of the user's own: a table (.csv, .tsv), or MONAI's datalist (.json)."""

from __future__ import annotations

import csv
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from unet3d.datasets.dataset import Case, Dataset, checked_cases, is_path, short
from unet3d.datasets.image_files import without_suffix
from unet3d.datasets.json_files import read_json
from unet3d.datasets.label_names import given_labels
from unet3d.datasets.layouts import list_files
from unet3d.datasets.volumes import read_header
from unet3d.errors import DataError

PARTS = {"train": "train", "val": "val", "test": "test"}
PARTS |= {"training": "train", "validation": "val", "valid": "val", "testing": "test"}
OWN = ("case", "split", "fold", "group", "weight")  # columns that name no file
SEPARATORS = {".csv": ",", ".tsv": "\t"}


@dataclass(frozen=True)
class Row:
    """A case as it is listed. where: its line, for messages; facts: of the columns OWN."""

    where: str
    images: tuple[Any, ...]
    label: Any
    facts: Mapping[str, Any]


def read_table(
    path: Path,
    labels: dict[int, str] | None,
    channels: Sequence[str] | None = None,
    label: str | None = None,
) -> Dataset:
    """Read a list of cases; paths in it are absolute, or start from its folder.

    labels: names of the label values. channels: the columns of the sequences, None for all that
    are left; of a datalist, the sequences' names. label: the column of the label file, None for
    `label`. Raises DataError for a list that is missing, empty or malformed.
    """
    path, label = Path(path), label or "label"
    if path.is_dir():
        lists = list_files(path)
        typed = f"; type data.root={lists[0]}" if lists else ", which has none"
        raise DataError(f"{path}: data=table reads a list of cases, and this is a folder{typed}")
    if path.suffix.lower() == ".json":
        rows, names = _datalist(path, label, channels)
    elif path.suffix.lower() in SEPARATORS:
        rows, names = _table(path, label, channels)
    else:
        raise DataError(f"{path}: a list of cases must be a .csv, .tsv or .json file")
    cases = checked_cases(path, [_case(path.parent, row) for row in rows])
    _check_apart(path, cases)
    names = _sequence_names(names, path.parent / cases[0].images[0], len(cases[0].images))
    files = [path.parent / case.label for case in cases]
    return Dataset(
        path.parent, path, tuple(names), given_labels(path, labels, files), cases, anywhere=True
    )


def _table(
    path: Path, label: str, channels: Sequence[str] | None
) -> tuple[list[Row], Sequence[str]]:
    """The rows, and the columns of the sequences."""
    try:
        with open(path, newline="", encoding="utf-8-sig") as file:
            reader = csv.DictReader(file, delimiter=SEPARATORS[path.suffix.lower()], strict=True)
            columns = [name.strip() for name in reader.fieldnames or ()]
            reader.fieldnames = columns
            lines = [(reader.line_num, row) for row in reader if any(row.values())]
    except OSError as error:
        raise DataError(f"{path}: {error.strerror}") from error
    except (csv.Error, UnicodeDecodeError) as error:
        raise DataError(f"{path}: not a table of text ({error})") from error
    if len(set(columns)) < len(columns):
        twice = next(name for name in columns if columns.count(name) > 1)
        raise DataError(f"{path}: has two columns {short(twice)}")
    if not columns:
        raise DataError(f"{path}: an empty file; its first line must name the columns")
    other = next((mark for mark in ";\t," if len(columns) == 1 and mark in columns[0]), None)
    if other:
        raise DataError(
            f"{path}: its columns are separated by {other!r}; a .csv needs ',', a .tsv tabs"
        )
    if label not in columns:
        raise DataError(
            f"{path}: has no column {label!r}, but {', '.join(columns)}; name that of "
            "the label files with data.label=<column>"
        )
    left = [name for name in columns if name not in (*OWN, label)]
    names = list(channels or left)
    wrong = [name for name in names if name not in left]
    if wrong or not names:
        raise DataError(
            f"{path}: has no column {short(wrong[0]) if wrong else 'with images'}; those that may "
            f"be sequences are {', '.join(left) or 'none'}; choose with data.channels=[...]"
        )
    rows = []
    for number, line in lines:
        where = f"{path}: line {number}"
        if None in line or any(line[name] is None for name in columns):
            raise DataError(f"{where} has another number of columns than the first line")
        facts = {name: line[name].strip() for name in OWN if line.get(name, "").strip()}
        images = tuple(line[name].strip() for name in names)
        rows.append(Row(where, images, line[label].strip(), facts))
    return rows, names


def _datalist(
    path: Path, label: str, channels: Sequence[str] | None
) -> tuple[list[Row], Sequence[str]]:
    """The rows of {"training": [{"image", "label", "fold"}], ...}, and the sequences' names."""
    try:
        found = read_json(path)
    except (FileNotFoundError, NotADirectoryError) as error:
        raise DataError(f"{path}: no such file") from error
    if not isinstance(found, dict) or not isinstance(found.get("training"), list):
        raise DataError(f"{path}: a datalist needs 'training', a list of image and label")
    rows, parts = [], [key for key in found if key in PARTS and isinstance(found[key], list)]
    for part in parts:
        for number, entry in enumerate(found[part]):
            where = f"{path}: entry {number} of {part!r}"
            if not isinstance(entry, dict) or "image" not in entry:
                raise DataError(f"{where} needs 'image' and {label!r}, unlike {short(entry)}")
            if label not in entry and part != "training":
                continue  # scans to be segmented, which nothing can be measured on
            images = entry["image"] if isinstance(entry["image"], list) else [entry["image"]]
            facts = {name: entry[name] for name in OWN if entry.get(name) is not None}
            if len(parts) > 1:
                facts = {"split": part, **facts}
            rows.append(Row(where, tuple(images), entry.get(label), facts))
    if channels is None and isinstance(found.get("modality"), dict):
        channels = [str(name) for name in found["modality"].values()]
    return rows, channels or ()


def _case(root: Path, row: Row) -> Case:
    for index, file in enumerate((*row.images, row.label)):
        is_image = is_path(file) and without_suffix(file) is not None
        is_series = index < len(row.images) and is_path(file) and (root / file).is_dir()
        if not is_image and not is_series:
            what = short(file) if file else "nothing"
            raise DataError(f"{row.where} has {what} in place of an image file")
    facts = row.facts
    part = PARTS.get(str(facts["split"]).strip().lower(), "?") if "split" in facts else ""
    if part == "?":
        raise DataError(
            f"{row.where} has split {short(facts['split'])}; it must be train, val or test"
        )
    fold = str(facts.get("fold", "")).strip()
    if fold and not fold.isdigit():
        raise DataError(f"{row.where} has fold {short(fold)}; it must be 0, 1, 2, ...")
    weight = _weight(row)
    return Case(
        str(facts.get("case") or _common_name(row)),
        row.images,
        row.label,
        str(facts.get("group", "")),
        part,
        int(fold) if fold else None,
        weight,
    )


def _check_apart(path: Path, cases: Sequence[Case]) -> None:
    """DataError where two cases are the same files: they might train and test on one scan."""
    found: dict[tuple[str, ...], str] = {}
    for case in cases:
        files = (*case.images, case.label)
        if files in found:
            raise DataError(
                f"{path}: cases {found[files]} and {case.id} have the same files, as "
                f"{case.images[0]}; remove one (a column `weight` draws more patches from a case)"
            )
        found[files] = case.id


def _weight(row: Row) -> float:
    given = str(row.facts.get("weight", "1")).strip()
    try:
        weight = float(given)
    except ValueError:
        weight = math.nan
    if not 0 <= weight < math.inf:
        raise DataError(f"{row.where} has weight {short(given)}; it must be a number of 0 or more")
    return weight


def _common_name(row: Row) -> str:
    """The case's name where the list gives none: that of its first image, or of its folder."""
    first = Path(row.images[0])
    name, folder = without_suffix(row.images[0]), first.parent.name
    if name is None:  # the folder of a DICOM series
        return folder if len(row.images) > 1 and folder else first.name
    return folder if len(row.images) > 1 and folder and folder in name else name


def _sequence_names(names: Sequence[str], image: Path, files: int) -> Sequence[str]:
    """The names that are given; those of a single file that holds several sequences get numbers."""
    if len(names) > 1 or files > 1:
        return names or [f"sequence_{index}" for index in range(files)]
    (name,) = names or ["sequence"]
    shape = read_header(image).shape
    return [f"{name}_{index}" for index in range(shape[3])] if len(shape) == 4 else [name]
