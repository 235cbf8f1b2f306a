"""A bounded pool of open Blosc2 arrays, shared by many reader threads."""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np

from unet3d.errors import DataError
from unet3d.preprocessing.first_read import FIRST_READ, REBUILD_HINT

IDLE_HANDLES = 64  # kept open; each is a memory map and a few kB, whatever the size of the case


class HandlePool:
    """Lends each open array to one thread at a time; the longest idle are closed first.

    A Blosc2 array has one decompression context, so two threads must not share a handle: a second
    reader of the same case opens its own.
    """

    def __init__(self, idle: int = IDLE_HANDLES):
        self._idle_limit = idle
        self._idle: OrderedDict[str, list[Any]] = OrderedDict()
        self._count = 0
        self._lock = threading.Lock()

    @contextmanager
    def lend(self, path: Path) -> Iterator[Any]:
        """The open array of `path`, reserved for this thread while the block runs."""
        key = str(path)
        with self._lock:
            idle = self._idle.get(key)
            handle = idle.pop() if idle else None
            if handle is not None:
                self._count -= 1
                if not idle:
                    del self._idle[key]
        if handle is None:
            handle = _open(path)
        try:
            yield handle
        finally:
            self._give_back(key, handle)

    def _give_back(self, key: str, handle: Any) -> None:
        with self._lock:
            self._idle.setdefault(key, []).append(handle)
            self._idle.move_to_end(key)
            self._count += 1
            while self._count > self._idle_limit:
                oldest = next(iter(self._idle))
                self._idle[oldest].pop(0)
                if not self._idle[oldest]:
                    del self._idle[oldest]
                self._count -= 1

    def forget(self, folder: Path) -> None:
        """Close the idle arrays below `folder`; to be called before its files are replaced."""
        prefix = f"{folder}/"
        with self._lock:
            for key in [key for key in self._idle if key.startswith(prefix)]:
                self._count -= len(self._idle.pop(key))

    def __len__(self) -> int:
        return self._count


HANDLES = HandlePool()  # one per process, so that a Store stays a plain value that can be pickled


def read_window(path: Path, window: tuple[slice, slice, slice] | None) -> np.ndarray:
    """The voxels of `window` (None: all); only the blocks it touches are decompressed.

    Raises DataError for a file that has changed since it was written.
    """
    with HANDLES.lend(path) as handle:
        return handle[:] if window is None else handle[window]


def _open(path: Path) -> Any:
    import blosc2

    FIRST_READ.check(path)
    try:
        # one thread per handle, as the patch stream already reads from many threads
        return blosc2.open(str(path), mode="r", mmap_mode="r", dparams={"nthreads": 1})
    except (OSError, RuntimeError, ValueError) as error:  # it was removed or replaced just now
        raise DataError(f"{path}: cannot be read ({error}); {REBUILD_HINT}") from error
