"""Each file of a store is compared with its checksum when a process first reads it."""

from __future__ import annotations

import contextlib
import json
import threading
from pathlib import Path
from typing import Any

from unet3d.errors import DataError
from unet3d.files import write_text
from unet3d.preprocessing.checksum import checksum_matches, file_crc32

DAMAGE_MARK = "damaged"  # a file in a case's folder: the damage that was found in it
REBUILD_HINT = "run: unet3d preprocess verify=true, then unet3d preprocess, which builds it again"


class FirstRead:
    """Remembers the files that were found whole, until their size or time changes.

    Any number of threads may ask at once: one reads the file, the others wait for it.
    """

    def __init__(self) -> None:
        self._whole: dict[Path, tuple[int, int]] = {}
        self._busy: dict[Path, threading.Lock] = {}
        self._lock = threading.Lock()

    def check(self, path: Path) -> None:
        """Raise DataError unless `path`, in the folder of a case, is as that was written.

        A damaged case is marked, so that `preprocess` builds it, or `stage` copies it, again.
        """
        with self._lock:
            busy = self._busy.setdefault(path, threading.Lock())
        with busy:
            try:
                found = path.stat()
                stamp = (found.st_size, found.st_mtime_ns)
                if self._whole.get(path) == stamp:
                    return
                checksum = file_crc32(path)
            except OSError as error:
                raise DataError(f"{path}: {error.strerror}; {REBUILD_HINT}") from error
            written = _written(path)
            if checksum != written:
                damage = f"{path.name}: checksum {checksum}, not {written}"
                with contextlib.suppress(OSError):  # a store that cannot be written has no mark
                    write_text(path.parent / DAMAGE_MARK, damage)
                raise DataError(
                    f"{path.parent}/{damage}: the files of case {path.parent.name} have changed "
                    f"since they were written; {REBUILD_HINT}"
                )
            self._whole[path] = stamp


FIRST_READ = FirstRead()  # one per process, as the open arrays


def _written(path: Path) -> str:
    """The checksum that a file of a case had when it was written."""
    try:
        return str(read_description(path.parent)["files"][path.name]["crc32"])
    except (KeyError, TypeError) as error:
        text = f"{path.parent / 'case.json'}: has no checksum of {path.name}; {REBUILD_HINT}"
        raise DataError(text) from error


def read_description(folder: Path) -> dict[str, Any]:
    """The case.json of a case's folder. Raises DataError where it is missing or damaged."""
    path = folder / "case.json"
    try:
        fields = json.loads(path.read_text())
        if not isinstance(fields.get("files"), dict) or not checksum_matches(fields):
            raise ValueError("its checksum does not match its contents")
    except OSError as error:
        raise DataError(f"{path}: {error.strerror}; {REBUILD_HINT}") from error
    except (ValueError, AttributeError) as error:
        raise DataError(f"{path}: cannot be read ({error}); {REBUILD_HINT}") from error
    return fields
