"""Which layout a folder has, where it is not the Decathlon's: what to write when it is refused."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import islice
from pathlib import Path
from typing import Any

MOST_ENTRIES = 500  # of a folder that are looked at
IMAGES = (".nii.gz", ".nii")
OTHER_IMAGES = (".mha", ".mhd", ".nrrd", ".nhdr", ".mgz", ".mgh", ".hdr", ".npy", ".npz", ".h5")
ARCHIVES = (".zip", ".tar", ".tar.gz", ".tgz", ".7z", ".rar")
ADVICE = "data.root must be a folder in the Decathlon layout, such as `unet3d download` fetches"


def describe_folder(root: Path) -> str:
    """What a folder without dataset.json is, and what to do about it."""
    if not root.is_dir():
        return f"{'not a folder' if root.exists() else 'no such folder'}; {ADVICE}"
    entries = sorted(_entries(root))
    folders = [entry for entry in entries if entry.is_dir()]
    names = [entry.name for entry in entries]
    if not entries:
        return f"no dataset.json in this empty folder; {ADVICE}"
    below = [folder.name for folder in folders if (folder / "dataset.json").is_file()]
    if below:
        return f"no dataset.json, but there is one in {below[0]}; type data.root={root / below[0]}"
    found = _layout(root, folders, names)
    return f"no dataset.json in it: {found}; {ADVICE}"


def describe_json(content: Any) -> str | None:
    """The layout of a dataset.json that is not the Decathlon's, or None."""
    if isinstance(content, dict) and "channel_names" in content:
        return (
            "this is nnU-Net's dataset.json, with channel_names and without a list of cases; "
            "write 'modality' {\"0\": name}, 'labels' {\"1\": name} and 'training' "
            "[{image, label}], with the sequences of a case in one 4D file"
        )
    if isinstance(content, dict) and "BIDSVersion" in content:
        return "this is the description of a BIDS data set"
    return None


def _layout(root: Path, folders: list[Path], names: list[str]) -> str:
    if "dataset_description.json" in names or any(n.startswith("sub-") for n in names):
        return "this is a BIDS data set (sub-<label> folders)"
    if "imagesTr" in names:
        images = [entry.name for entry in _entries(root / "imagesTr")]
        if any(name.endswith(f"_0000{suffix}") for name in images for suffix in IMAGES):
            return "this is nnU-Net's layout (imagesTr with _0000, _0001, ...)"
        return "imagesTr is there, but the file that lists the cases is missing"
    files = [name for folder in folders for name in (entry.name for entry in _entries(folder))]
    for where, found in (("", names), ("folders of ", files)):
        if any(name.endswith(IMAGES) for name in found):
            kind = "a folder for each case" if where else "a folder of NIfTI files"
            return f"this is {kind}, without a list of images and labels"
        if any(name.lower().endswith((".dcm", ".ima")) or name == "DICOMDIR" for name in found):
            return f"these are {where}DICOM files; convert each series, for example with dcm2niix"
        for endings, text in (
            (OTHER_IMAGES, "images in another format; convert them to .nii.gz"),
            (ARCHIVES, "an archive; unpack it first"),
        ):
            match = next((name for name in found if name.lower().endswith(endings)), None)
            if match:
                return f"{match} is {text}" if text.startswith("an ") else f"{text} ({match})"
    if any(_is_dicom(path) for folder in (root, *folders[:3]) for path in _entries(folder)):
        return "these are DICOM files; convert each series, for example with dcm2niix"
    return f"it has {', '.join(names[:3])}{', ...' if len(names) > 3 else ''}"


def _entries(folder: Path) -> Iterator[Path]:
    try:
        yield from (p for p in islice(folder.iterdir(), MOST_ENTRIES) if p.name[0] != ".")
    except OSError:
        return


def _is_dicom(path: Path) -> bool:
    try:
        if not path.is_file():
            return False
        with open(path, "rb") as file:
            return file.read(132)[128:] == b"DICM"
    except OSError:
        return False
