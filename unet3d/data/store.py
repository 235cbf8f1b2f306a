"""The preprocessed store: a folder of compressed cases from which windows are read.

<name>-<key>/store.json             written last: the store is complete
            /fingerprint.json       what the cases hold, see unet3d.data.fingerprint
<name>-<key>/cases/<id>/image.b2nd  (x, y, z, channels), float16, or bfloat16 kept as uint16
                       /label.b2nd  (x, y, z), uint8
                       /foreground.npz, case.json
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np

from unet3d.data.errors import DataError
from unet3d.data.handles import read_window

Window = tuple[slice, slice, slice]
FORMAT = 2  # raised when the files of a store, or how they are computed, change
CASE_FILES = ("image.b2nd", "label.b2nd", "foreground.npz", "case.json")
MARKER = "store.json"
DAMAGED = "damaged"  # in a case's folder: what `verify` has found, see unet3d.data.verify


@dataclass(frozen=True)
class StoredCase:
    """What is known of a case without reading its volumes; `labels` are the foreground's."""

    id: str
    shape: tuple[int, int, int]
    channels: int
    spacing: tuple[float, float, float]
    labels: tuple[int, ...]


@dataclass(frozen=True)
class Store:
    """A complete store. Any number of threads may read from it at once."""

    path: Path
    key: str
    digest: str
    channels: tuple[str, ...]
    labels: dict[int, str]
    cases: dict[str, StoredCase]
    skipped: dict[str, str]

    def image(self, case_id: str, window: Window | None = None) -> np.ndarray:
        """(x, y, z, channels) of the case or of a window in it, in the stored dtype."""
        array = read_window(self._folder(case_id) / "image.b2nd", window)
        if array.dtype == np.uint16:
            import ml_dtypes

            return array.view(ml_dtypes.bfloat16)
        return array

    def label(self, case_id: str, window: Window | None = None) -> np.ndarray:
        """(x, y, z), uint8, of the case or of a window in it."""
        return read_window(self._folder(case_id) / "label.b2nd", window)

    def foreground(self, case_id: str) -> dict[int, np.ndarray]:
        """Label value -> (n, 3) indices of its voxels, at most 10000: a seeded sample."""
        return dict(_foreground(self._folder(case_id) / "foreground.npz"))

    def geometry(self, case_id: str) -> dict[str, Any]:
        """How the stored grid came from the file's; see unet3d.data.geometry.

        shape, affine, spacing: of the file. axes, flips: stored axis i runs along the file's
        axis axes[i], backwards where flips[i]. box: [start, stop] on each axis, after axes and
        flips, of the part that was kept. cropped: its shape. resampled: whether the stored
        shape differs from it. stored_affine: voxel to mm of the stored grid.
        """
        return json.loads((self._folder(case_id) / "case.json").read_text())["geometry"]

    def _folder(self, case_id: str) -> Path:
        if case_id not in self.cases:
            raise DataError(f"{self.path}: it has no case {case_id}")
        return self.path / "cases" / case_id


@lru_cache(maxsize=32)
def _foreground(path: Path) -> Mapping[int, np.ndarray]:
    with np.load(path) as file:
        voxels = {int(value): file[value] for value in file.files}
    for array in voxels.values():
        array.flags.writeable = False  # shared by all readers
    return voxels


def open_store(path: Path) -> Store:
    """The complete store in folder `path`; DataError when it is not there, or not whole."""
    store = read_marker(Path(path))
    if store is None:
        raise DataError(f"{path}: no complete store is here; run: unet3d preprocess")
    damaged = [problem for case in store.cases if (problem := damage(store, case))]
    if damaged:
        raise DataError("; ".join(damaged) + "; run: unet3d preprocess, which rebuilds them")
    return store


def read_marker(path: Path) -> Store | None:
    """The store that `path`/store.json describes, its files unchecked; None where there is none."""
    try:
        found = json.loads((path / MARKER).read_text())
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
        )
    except FileNotFoundError:
        return None
    except (ValueError, KeyError, TypeError) as error:
        raise DataError(f"{path / MARKER}: cannot be read ({error}); delete it") from error


def marker_text(store: Store) -> str:
    """The contents of store.json."""
    fields = {
        "format": FORMAT,
        "key": store.key,
        "digest": store.digest,
        "channels": store.channels,
        "labels": store.labels,
        "skipped": store.skipped,
        "cases": [asdict(case) for case in store.cases.values()],
    }
    return json.dumps(fields, indent=1)


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
    """Why a case's folder is not whole, by its sizes or by what an earlier `verify` has found."""
    try:
        found = (folder / DAMAGED).read_text(errors="replace")
    except OSError:  # there is no such mark, as a rule
        return wrong_size(folder)
    return f"{folder}/{found}"


def wrong_size(folder: Path) -> str | None:
    """A file of a case's folder that is missing, or not of the size it had; None: all are whole."""
    try:
        files = json.loads((folder / "case.json").read_text())["files"]
        for name in CASE_FILES[:-1]:
            size, expected = (folder / name).stat().st_size, files[name]["bytes"]
            if size != expected:
                return f"{folder / name}: {size} bytes, not {expected}"
    except OSError as error:
        return f"{error.filename}: {error.strerror}"
    except (ValueError, KeyError, TypeError):
        return f"{folder / 'case.json'}: not readable"
    return None
