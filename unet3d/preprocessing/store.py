"""The preprocessed store: a folder of compressed cases from which windows are read.

<name>-<key>/store.json             written last: marks the store as complete
            /fingerprint.json       the figures of the cases, see unet3d.preprocessing.fingerprint
            /roots.json             the folders of the data sets that it was used for
<name>-<key>/cases/<id>/image.b2nd  (x, y, z, channels), float16, or bfloat16 stored as uint16
                       /label.b2nd  (x, y, z), uint8
                       /foreground.npz, case.json
"""

from __future__ import annotations

import contextlib
import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np

from unet3d.datasets.dataset import Dataset
from unet3d.errors import DataError
from unet3d.files import write_text
from unet3d.preprocessing.array_pool import read_window
from unet3d.preprocessing.checksum import checksum_matches, with_checksum
from unet3d.preprocessing.first_read import (
    DAMAGE_MARK,
    FIRST_READ,
    REBUILD_HINT,
    read_description,
)
from unet3d.preprocessing.scales import Scales, scaled

Window = tuple[slice, slice, slice]
FORMAT = 3  # increased when the files of a store, or how they are computed, change
FORMAT_CHANGE = "built anew, as the background is now what surrounds the body, not every 0"
CASE_FILES = ("image.b2nd", "label.b2nd", "foreground.npz", "case.json")
MARKER = "store.json"
ROOTS = "roots.json"  # the data sets that it was used for, for `unet3d clean`


@dataclass(frozen=True)
class StoredCase:
    """A case without its volumes; `labels` are the foreground values in it."""

    id: str
    shape: tuple[int, int, int]
    channels: int
    spacing: tuple[float, float, float]
    labels: tuple[int, ...]


@dataclass(frozen=True)
class Store:
    """A complete store. Any number of threads may read from it at once.

    Reading raises DataError for a file that has changed since it was written.
    inputs: the identity of each case's files as they are now, and source: the data set itself,
    where `preprocess` has looked. normalize: the method of each sequence, where any is not zscore.
    scales: of the sequences that are scaled while they are read. resampled_to: mm, what
    data.spacing was or auto stood for.
    """

    path: Path
    key: str
    digest: str
    channels: tuple[str, ...]
    labels: dict[int, str]
    cases: dict[str, StoredCase]
    skipped: dict[str, str]
    inputs: dict[str, str] = field(default_factory=dict, compare=False)
    source: Dataset | None = field(default=None, compare=False)
    normalize: tuple[str, ...] = ()
    scales: Scales = ()
    resampled_to: list[float] | None = field(default=None, compare=False)

    def image(self, case_id: str, window: Window | None = None) -> np.ndarray:
        """(x, y, z, channels) of the case or of a window in it, in the stored dtype, scaled."""
        array = read_window(self._folder(case_id) / "image.b2nd", window)
        if array.dtype == np.uint16:
            import ml_dtypes

            array = array.view(ml_dtypes.bfloat16)
        return scaled(array, self.scales)

    def label(self, case_id: str, window: Window | None = None) -> np.ndarray:
        """(x, y, z), uint8, of the case or of a window in it."""
        return read_window(self._folder(case_id) / "label.b2nd", window)

    def foreground(self, case_id: str) -> dict[int, np.ndarray]:
        """Label value -> (n, 3) indices of its voxels, a seeded sample of at most 10,000."""
        return dict(_foreground(self._folder(case_id) / "foreground.npz"))

    def geometry(self, case_id: str) -> dict[str, Any]:
        """How the stored grid came from that of the file; see unet3d.preprocessing.geometry.

        shape, affine, spacing: of the file. axes, flips: stored axis i runs along the file's
        axis axes[i], backwards where flips[i]. box: [start, stop] on each axis, after axes and
        flips, of the part that was kept. cropped: its shape. resampled: whether the stored shape
        differs from it. stored_affine: voxel to mm of the stored grid.
        """
        return read_description(self._folder(case_id))["geometry"]

    def _folder(self, case_id: str) -> Path:
        if case_id not in self.cases:
            raise DataError(f"{self.path}: has no case {case_id}")
        return self.path / "cases" / case_id


@lru_cache(maxsize=32)
def _foreground(path: Path) -> Mapping[int, np.ndarray]:
    FIRST_READ.check(path)
    try:
        with np.load(path) as file:
            voxels = {int(value): file[value] for value in file.files}
    except Exception as error:  # it was removed or replaced just now
        raise DataError(f"{path}: cannot be read ({error}); {REBUILD_HINT}") from error
    for array in voxels.values():
        array.flags.writeable = False  # shared by all readers
    return voxels


def open_store(path: Path) -> Store:
    """The complete store in folder `path`; DataError when it is missing or damaged."""
    store = read_marker(Path(path))
    if store is None:
        raise DataError(f"{path}: not a complete store; run: unet3d preprocess")
    damaged = [problem for case in store.cases if (problem := damage(store, case))]
    if damaged:
        raise DataError("; ".join(damaged) + "; run: unet3d preprocess, which rebuilds them")
    return store


def read_marker(path: Path) -> Store | None:
    """The store that `path`/store.json describes, its files unchecked; None if missing."""
    try:
        found = json.loads((path / MARKER).read_text())
        if not checksum_matches(found):
            raise ValueError("its checksum does not match its contents")
        if found["format"] != FORMAT:
            return None
        return Store(
            path=path,
            key=found["key"],
            digest=found["digest"],
            channels=tuple(found["channels"]),
            labels={int(value): name for value, name in found["labels"].items()},
            cases={case["id"]: stored_case(case) for case in found["cases"]},
            skipped=found["skipped"],
            normalize=tuple(found.get("normalize", ())),
        )
    except FileNotFoundError:
        return None
    except OSError as error:
        raise DataError(f"{path / MARKER}: {error.strerror}") from error
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise DataError(
            f"{path / MARKER}: cannot be read ({error}); delete it, then run: unet3d preprocess"
        ) from error


def marker_text(store: Store) -> str:
    """The contents of store.json."""
    fields = {
        "format": FORMAT,
        "key": store.key,
        "digest": store.digest,
        "channels": store.channels,
        "labels": {str(value): name for value, name in store.labels.items()},
        "skipped": store.skipped,
        "cases": [asdict(case) for case in store.cases.values()],
    }
    if store.normalize:
        fields["normalize"] = store.normalize
    return json.dumps(with_checksum(fields), indent=1)


def stored_case(fields: dict[str, Any]) -> StoredCase:
    """A StoredCase from its JSON."""
    x, y, z = fields["shape"]
    dx, dy, dz = fields["spacing"]
    return StoredCase(
        fields["id"], (x, y, z), fields["channels"], (dx, dy, dz), tuple(fields["labels"])
    )


def damage(store: Store, case_id: str) -> str | None:
    """Why a case of the store cannot be used, or None."""
    return folder_damage(store.path / "cases" / case_id)


def folder_damage(folder: Path) -> str | None:
    """Why a case's folder is damaged, by its file sizes or the mark of an earlier reader."""
    try:
        found = (folder / DAMAGE_MARK).read_text(errors="replace")
    except OSError:  # usually there is no such mark
        return wrong_size(folder)
    return f"{folder}/{found}"


def wrong_size(folder: Path) -> str | None:
    """The first file of a case that is missing or has the wrong size, or None."""
    try:
        fields = json.loads((folder / "case.json").read_text())
        if not checksum_matches(fields):
            return f"{folder / 'case.json'}: its checksum does not match its contents"
        files = fields["files"]
        for name in CASE_FILES[:-1]:
            size, expected = (folder / name).stat().st_size, files[name]["bytes"]
            if size != expected:
                return f"{folder / name}: {size} bytes, not {expected}"
    except OSError as error:
        return f"{error.filename}: {error.strerror}"
    except (ValueError, KeyError, TypeError, AttributeError):
        return f"{folder / 'case.json'}: cannot be read"
    return None


def roots_of(path: Path) -> list[str]:
    """The data sets that the store at `path` was used for; none where that is not known."""
    try:
        return [str(root) for root in json.loads((path / ROOTS).read_text())]
    except (OSError, ValueError, TypeError):
        return []


def keep_root(path: Path, root: str) -> None:
    """Note that a store is used for the data set at `root`; a store that is read-only stays so."""
    roots = roots_of(path)
    if root not in roots:
        with contextlib.suppress(OSError):
            write_text(path / ROOTS, json.dumps([*roots, root]))


def format_of(path: Path) -> int | None:
    """The format of the store at `path`; None where that cannot be read."""
    try:
        return int(json.loads((path / MARKER).read_text())["format"])
    except (OSError, ValueError, KeyError, TypeError):
        return None
