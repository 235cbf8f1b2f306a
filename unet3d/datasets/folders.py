"""Cases found by a pattern of their files, such as {case}/{case}-{channel}.nii.gz or BIDS."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from unet3d.datasets.dataset import Case, Dataset, checked_cases
from unet3d.datasets.dicom import is_dicom_folder
from unet3d.datasets.image_files import image_suffix
from unet3d.datasets.label_names import given_labels
from unet3d.errors import DataError

PLACES = re.compile(r"\{(\w+)\}")
NAMES = ("case", "channel", "group")  # of the places
LABELS = ("seg", "label", "mask")  # in the place of {channel}, where data.label is not set


def read_folders(
    root: Path,
    pattern: str | None,
    labels: Mapping[Any, Any] | None,
    channels: Sequence[str] | None = None,
    label: str | None = None,
) -> Dataset:
    """The cases whose files below `root` match `pattern`, with {case}, and {channel} or one file.

    channels: names in the place of {channel}, in the network's order; None: all there are. label:
    the name of the label in that place, or a pattern of its own with {case}; None: seg, label or
    mask. {group}, where a pattern has it, keeps cases together in a split, and is part of their
    names where two groups have a case of one name. A pattern that ends in / finds the folders of
    DICOM series.
    Raises DataError where nothing matches; a file that a case lacks is named when it is read.
    """
    root = Path(root)
    if not root.is_dir():
        raise DataError(f"{root}: {'not a folder' if root.exists() else 'no such folder'}")
    if pattern is None:
        raise DataError(
            f"{root}: data=folders needs data.pattern, such as "
            "'data.pattern={case}/{case}-{channel}.nii.gz'"
        )
    _check_pattern(pattern, "data.pattern")
    found = _matches(root, pattern)
    if not found:
        what = "folder with a DICOM series" if pattern.endswith("/") else "file"
        glob = any(mark in pattern for mark in "*?[")
        hint = "; it is no glob: *, ? and [] stand for themselves" if glob else ""
        raise DataError(f"{root}: has no {what} that fits data.pattern={pattern}{hint}")
    if pattern.endswith("/") and "{case}" not in (label or ""):
        raise DataError(
            f"{root}: data.pattern={pattern} finds DICOM series; the labels need a pattern of "
            "their own, such as 'data.label={case}/label.nii.gz'"
        )
    named = "{channel}" in pattern
    there = {match.get("channel", "image") for match in found}
    apart = label is not None and "{case}" in label
    if apart:
        assert label is not None
        _check_pattern(label, "data.label")
    else:
        label = _label_name(root, pattern, label, there)
    names = list(channels or sorted(there - ({label} if not apart else set())))
    wrong = [name for name in names if named and name not in there]
    if wrong or not names:
        raise DataError(
            f"{root}: data.pattern finds no {wrong[0] if wrong else 'image'}; in the place of "
            f"{{channel}} there are {', '.join(sorted(there))}"
        )
    checked = checked_cases(root, _cases(found, pattern, names if named else [""], label))
    files = [root / case.label for case in checked if (root / case.label).exists()]
    if not files:
        raise DataError(f"{root / checked[0].label}: no such file, nor a label of any other case")
    return Dataset(
        root,
        root,
        tuple(names) if named else ("image",),
        given_labels(root, labels, files),
        checked,
        anywhere=True,
    )


def images_by_case(
    root: Path, pattern: str, channels: Sequence[str]
) -> dict[str, tuple[Path, ...]]:
    """The images of each case below `root` that fits `pattern`, labelled or not, by its name.

    channels: names in the place of {channel}, in order; a file that a case lacks is named all the
    same, and found missing when it is read.
    """
    names = list(channels) if "{channel}" in pattern else [""]
    found = [m for m in _matches(root, pattern) if m.get("channel", "") in names]
    cases = _cases(found, pattern, names, "")
    return {case.id: tuple(root / image for image in case.images) for case in cases}


def _check_pattern(pattern: str, key: str) -> None:
    unknown = [name for name in PLACES.findall(pattern) if name not in NAMES]
    if unknown:
        raise DataError(
            f"{key}: {pattern} has {{{unknown[0]}}}; the places of a pattern are "
            f"{', '.join(f'{{{name}}}' for name in NAMES)}"
        )
    series = key == "data.pattern" and pattern.endswith("/")
    if "{case}" not in pattern or not (image_suffix(pattern) or series):
        raise DataError(
            f"{key}: {pattern} must contain {{case}} and end as images do, such as in .nii.gz"
            + (", or in / for folders of DICOM series" if key == "data.pattern" else "")
        )


def _label_name(root: Path, pattern: str, label: str | None, there: set[str]) -> str:
    wanted = (label,) if label else LABELS
    for name in wanted:
        if name in there:
            return name
    raise DataError(
        f"{root}: no label among the files of data.pattern={pattern}, which has "
        f"{', '.join(sorted(there))} in the place of {{channel}}; set data.label to one of them, "
        "or to a pattern of its own"
    )


def _matches(root: Path, pattern: str) -> list[dict[str, str]]:
    """What stands in the places of the pattern, for each file that fits it."""
    regex, seen = "", set()
    is_one = is_dicom_folder if pattern.endswith("/") else Path.is_file
    pattern = pattern.rstrip("/")
    for index, part in enumerate(PLACES.split(pattern)):
        if index % 2 == 0:
            regex += re.escape(part)
        elif part in seen:
            regex += f"(?P={part})"
        else:
            seen.add(part)
            regex += f"(?P<{part}>[^/]+?)" if part != "channel" else "(?P<channel>[^/]+)"
    fits = re.compile(regex)
    files = sorted(root.glob(PLACES.sub("*", pattern)))
    names = (file.relative_to(root).as_posix() for file in files if is_one(file))
    return [match.groupdict() for name in names if (match := fits.fullmatch(name))]


def _cases(
    found: Sequence[dict[str, str]], pattern: str, names: Sequence[str], label: str
) -> list[Case]:
    """The cases that the files of `found` belong to, each once."""
    places: dict[tuple[str, str], dict[str, str]] = {}
    for match in found:
        places.setdefault((match.get("group", ""), match["case"]), match)
    unique = len({case for _, case in places}) == len(places)
    return [_case(match, pattern, names, label, unique) for match in places.values()]


def _case(
    match: dict[str, str], pattern: str, names: Sequence[str], label: str, unique: bool
) -> Case:
    """unique: whether no two groups have a case of one name, such as session 1 of each subject."""

    def filled(text: str, channel: str) -> str:
        given = {**match, "channel": channel}
        return PLACES.sub(lambda place: given[place[1]], text)

    images = tuple(filled(pattern.rstrip("/"), name) for name in names)
    own = filled(label, "") if "{case}" in label else filled(pattern, label)
    group = match.get("group", "")
    return Case(match["case"] if unique else f"{group}_{match['case']}", images, own, group)
