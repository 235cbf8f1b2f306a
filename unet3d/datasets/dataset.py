"""A data set as every layout describes it: its cases, their files, sequences and labels."""

from __future__ import annotations

import os
import unicodedata
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any

from unet3d.errors import DataError

Fold = tuple[tuple[str, ...], tuple[str, ...]]  # cases to train on, cases to validate on


@dataclass(frozen=True)
class Case:
    """A labelled case: the paths of its files as the data set's description writes them.

    images: one file with all sequences, or one file for each. group: cases of one group, such as
    those of a patient, are never on both sides of a split; "" for none. part: train, val or test,
    and fold: the one it validates in, where the data set says so itself. weight: how often patches
    are drawn from it, relative to other cases.
    """

    id: str
    images: tuple[str, ...]
    label: str
    group: str = ""
    part: str = ""
    fold: int | None = None
    weight: float = 1.0


@dataclass(frozen=True)
class Dataset:
    """The content of a data set's description.

    root: the folder that paths start from. description: the file that lists the cases, or their
    folder where none does. labels: the foreground values only. regions: label values of each
    region, where the description names regions; None: each label is one. ignore: the label value
    that counts neither in the loss nor in a metric. folds: where the data set defines them itself.
    anywhere: whether files may lie outside of `root`, as a user's own list may say.
    """

    root: Path
    description: Path
    channels: tuple[str, ...]
    labels: dict[int, str]
    cases: tuple[Case, ...]
    regions: dict[str, list[int]] | None = None
    ignore: int | None = None
    folds: tuple[Fold, ...] = ()
    anywhere: bool = False

    def file(self, relative: str) -> Path:
        """The path of a file of the data set; DataError where that names one outside the folder.

        A symbolic link within the folder may lead anywhere: its owner made it, not a description
        that was downloaded.
        """
        path = PurePosixPath(relative)
        if not self.anywhere and (path.is_absolute() or ".." in path.parts):
            raise DataError(f"{relative}: lies outside the data set's folder {self.root}")
        return self.root / relative

    @property
    def label_source(self) -> str:
        """What names the label values: dataset.json, or a setting where the layout has no names."""
        name = self.description.name
        return name if name == "dataset.json" else "data.labels"

    def images(self, case: Case) -> tuple[Path, ...]:
        """The image files of a case; DataError as by `file`."""
        return tuple(self.file(image) for image in case.images)


def checked_cases(description: Path, cases: Iterable[Case]) -> tuple[Case, ...]:
    """The cases, sorted by id. Raises DataError where there is none, or two have one id."""
    found: dict[str, Case] = {}
    for case in cases:
        same = unicodedata.normalize("NFC", case.id).casefold()  # one file on some file systems
        if same in found:
            raise DataError(
                f"{description}: two cases are called {case.id}: {found[same].images[0]} and "
                f"{case.images[0]}"
            )
        found[same] = case
    if not found:
        raise DataError(f"{description}: names no case")
    return tuple(sorted(found.values(), key=lambda case: case.id))


def checked_labels(description: Path, labels: dict[int, str]) -> dict[int, str]:
    """The foreground labels in order. Raises DataError for values that no label file can have."""
    wrong = [value for value in labels if not 0 <= value <= 255]
    if wrong:
        raise DataError(f"{description}: label value {wrong[0]} is not between 0 and 255")
    foreground = {value: labels[value] for value in sorted(labels) if value != 0}
    if not foreground:
        raise DataError(f"{description}: 'labels' names no value besides the background, 0")
    return foreground


def is_path(text: Any) -> bool:
    """Whether a value can be the path of a file."""
    try:
        return isinstance(text, str) and bool(text.strip()) and b"\0" not in os.fsencode(text)
    except UnicodeError:  # half of a pair of code units
        return False


def short(value: Any, text: Callable[[Any], str] = repr) -> str:
    """A value for a message of one line."""
    shown = " ".join(text(value).split())
    return shown if len(shown) <= 100 else f"{shown[:100]}..."
