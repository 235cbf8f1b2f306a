"""Which layout a folder has: what to type for one that is read, what to say of one that is not."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any

from unet3d.datasets.dicom import is_dicom_folder
from unet3d.datasets.image_files import (
    SUFFIXES,
    case_of_numbered,
    image_suffix,
    numbered,
    without_suffix,
)
from unet3d.datasets.json_files import read_json
from unet3d.errors import DataError

MOST_ENTRIES = 500  # of a folder that are looked at
MOST_FOLDERS = 20
OTHER_IMAGES = (".mgz", ".mgh", ".hdr", ".npy", ".npz", ".h5")
ARCHIVES = (".zip", ".tar", ".tar.gz", ".tgz", ".7z", ".rar")
ADVICE = (
    "data.root must be a data set such as `unet3d download` fetches, or have one of the layouts "
    "of docs/data.md"
)
SERIES_ADVICE = (
    "list the folders of the series with their label files in a table, see DICOM in docs/data.md"
)


@dataclass(frozen=True)
class Layout:
    """A layout that is read. overrides: the settings to type for it.

    root: what data.root must be, where that is not the path that was looked at.
    """

    description: str
    overrides: tuple[str, ...]
    root: Path | None = None


def find_layout(root: Path) -> Layout | None:
    """The layout of a folder or of a list of cases; None for one that is not known."""
    root = Path(root)
    if root.is_file():
        return Layout("a list of cases", ("data=table",)) if _is_list(root) else None
    if (root / "dataset.json").is_file():
        return _layout_of_json(root)
    return _bids(root) or _folder_a_case(root) or _series_a_case(root) or _list_in(root)


def describe_folder(root: Path) -> str:
    """What a folder without dataset.json is, and what to do about it."""
    if root.is_file() and root.name in ("dataset.json", "dataset_description.json"):
        return f"this describes the data set of its folder; type data.root={root.parent}"
    if root.is_file():
        return (
            "not a list of cases, which is a .csv or .tsv with a column a file, or a .json with "
            "'training'"
        )
    if not root.is_dir():
        return f"{'not a folder' if root.exists() else 'no such folder'}; {ADVICE}"
    found = find_layout(root)
    if found is not None:
        typed = _typed(found) + (f" data.root={found.root}" if found.root else "")
        return f"no dataset.json in it: this is {found.description}; type {typed}"
    entries = sorted(_entries(root))
    folders = [entry for entry in entries if entry.is_dir()]
    names = [entry.name for entry in entries]
    if not entries:
        return f"no dataset.json in this empty folder; {ADVICE}"
    below = [folder.name for folder in folders if (folder / "dataset.json").is_file()]
    if below:
        return f"no dataset.json, but there is one in {below[0]}; type data.root={root / below[0]}"
    return f"no dataset.json in it: {_contents(root, folders, names)}; {ADVICE}"


def read_description(path: Path) -> Any:
    """The content of a dataset.json; where there is none, DataError says what the folder is."""
    try:
        return read_json(path)
    except (FileNotFoundError, NotADirectoryError) as error:
        raise DataError(f"{path}: {describe_folder(path.parent)}") from error


def describe_json(content: Any) -> str | None:
    """The layout of a dataset.json that is not the Decathlon's, or None."""
    if isinstance(content, dict) and "channel_names" in content:
        return "this is nnU-Net's layout; type data=nnunet"
    if isinstance(content, dict) and "BIDSVersion" in content:
        return "this is the description of a BIDS data set; type data=folders and data.pattern"
    return None


def _typed(layout: Layout) -> str:
    return " ".join(f"'{text}'" if "{" in text else text for text in layout.overrides)


def _layout_of_json(root: Path) -> Layout | None:
    try:
        content = read_json(root / "dataset.json")
        if "channel_names" in content:
            return Layout("nnU-Net's raw layout", ("data=nnunet",))
        image = root / content["training"][0]["image"]
    except (DataError, OSError, KeyError, TypeError, IndexError):
        return None
    if not image.exists() and image.with_name(numbered(image.name, 0)).exists():
        return Layout("the raw layout of nnU-Net's first version", ("data=nnunet",))
    return Layout("the Decathlon's layout", ("data=msd",))


def list_files(folder: Path) -> list[Path]:
    """The files right in a folder that can be lists of cases, sorted."""
    return sorted(entry for entry in _entries(folder) if entry.is_file() and _is_list(entry))


def _is_list(path: Path) -> bool:
    """Whether a file ends as a table, or has the training cases of a MONAI datalist."""
    if path.suffix.lower() != ".json":
        return path.suffix.lower() in (".csv", ".tsv")
    try:
        content = read_json(path)
    except (DataError, OSError):
        return False
    return isinstance(content, dict) and isinstance(content.get("training"), list)


def _list_in(root: Path) -> Layout | None:
    """The one list of cases in a folder; a table of other things has no column `label`."""
    lists = [path for path in list_files(root) if path.suffix == ".json" or _has_labels(path)]
    named = f"a folder with a list of cases, {lists[0].name}" if lists else ""
    return Layout(named, ("data=table",), lists[0]) if len(lists) == 1 else None


def _has_labels(table: Path) -> bool:
    try:
        with open(table, encoding="utf-8-sig") as file:
            return "label" in re.split(r"[,;\t]", file.readline(10_000).strip())
    except (OSError, UnicodeDecodeError):
        return False


def _bids(root: Path) -> Layout | None:
    """sub-<label>/[ses-<label>/]anat/..., with labels somewhere in derivatives."""
    subjects = [entry for entry in _entries(root) if entry.name.startswith("sub-")]
    if not subjects:
        return None
    sessions = any(entry.name.startswith("ses-") for entry in _entries(subjects[0]))
    folder = "sub-{group}/ses-{case}/anat/" if sessions else "sub-{case}/anat/"
    name = "sub-{group}_ses-{case}" if sessions else "sub-{case}"
    images = folder + name + "_{channel}.nii.gz"
    labels = f"derivatives/labels/{folder}{name}_dseg.nii.gz"
    overrides = ("data=folders", f"data.pattern={images}", f"data.label={labels}")
    return Layout("a BIDS data set, whose labels have a pattern of their own", overrides)


def _folder_a_case(root: Path) -> Layout | None:
    """A folder for each case, as BraTS has; the pattern that most of the files have."""
    patterns: Counter[str] = Counter()
    folders = [entry for entry in sorted(_entries(root)) if entry.is_dir()]
    for folder in folders[:MOST_FOLDERS]:
        for file in _entries(folder):
            suffix, name = image_suffix(file.name), without_suffix(file.name) or ""
            rest = name.removeprefix(folder.name)
            if suffix and rest != name and rest[:1] in "-_." and len(rest) > 1:
                patterns["{case}/{case}" + rest[0] + "{channel}" + suffix] += 1
            elif suffix:
                patterns["{case}/{channel}" + suffix] += 1
    if not patterns or folders[0].name in ("imagesTr", "images", "labelsTr", "labels"):
        return None
    pattern, files = patterns.most_common(1)[0]
    if files < 2 * min(len(folders), MOST_FOLDERS):  # an image and a label at the least
        return None
    return Layout("a folder for each case", ("data=folders", f"data.pattern={pattern}"))


def _series_a_case(root: Path) -> Layout | None:
    """A folder for each case, with folders of DICOM series and one file, the label."""
    patterns: Counter[str] = Counter()
    folders = [entry for entry in sorted(_entries(root)) if entry.is_dir()]
    for folder in folders[:MOST_FOLDERS]:
        within = sorted(_entries(folder))
        labels = [file.name for file in within if image_suffix(file.name) and file.is_file()]
        if len(labels) == 1 and any(e.is_dir() and is_dicom_folder(e) for e in within):
            patterns["{case}/" + labels[0].replace(folder.name, "{case}")] += 1
    if not patterns:
        return None
    label, _ = patterns.most_common(1)[0]
    overrides = ("data=folders", "data.pattern={case}/{channel}/", f"data.label={label}")
    return Layout("a folder for each case, with DICOM series and a label file", overrides)


def _contents(root: Path, folders: list[Path], names: list[str]) -> str:
    if "imagesTr" in names:
        images = [entry.name for entry in _entries(root / "imagesTr")]
        if any(case_of_numbered(name, image_suffix(name) or "/") for name in images):
            return "this is nnU-Net's layout (imagesTr with _0000, _0001, ...) without its list"
        return "imagesTr is there, but the file that lists the cases is missing"
    files = [name for folder in folders for name in (entry.name for entry in _entries(folder))]
    for where, found in (("", names), ("folders of ", files)):
        if any(name.endswith(SUFFIXES) for name in found):
            return f"these are {where}images, without a list or a pattern of images and labels"
        if any(name.lower().endswith((".dcm", ".ima")) or name == "DICOMDIR" for name in found):
            return f"these are {where}DICOM files; {SERIES_ADVICE}"
        for endings, text in (
            (OTHER_IMAGES, "images in another format; convert them to .nii.gz"),
            (ARCHIVES, "an archive; unpack it first"),
        ):
            match = next((name for name in found if name.lower().endswith(endings)), None)
            if match:
                return f"{match} is {text}" if text.startswith("an ") else f"{text} ({match})"
    if any(is_dicom_folder(folder) for folder in (root, *folders[:3])):
        return f"these are DICOM files; {SERIES_ADVICE}"
    return f"it has {', '.join(names[:3])}{', ...' if len(names) > 3 else ''}"


def _entries(folder: Path) -> Iterator[Path]:
    try:
        yield from (p for p in islice(folder.iterdir(), MOST_ENTRIES) if p.name[0] != ".")
    except OSError:
        return
