"""A node's own copy of a store's cases, on a local disk that is faster than the shared one."""

from __future__ import annotations

import json
import logging
import os
import shutil
import zlib
from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor, as_completed
from dataclasses import replace
from pathlib import Path
from time import perf_counter

from unet3d.checksum_trailer import BLOCK_BYTES
from unet3d.errors import ConfigError, DataError
from unet3d.files import (
    discard,
    exclusive_lock,
    publish,
    remove_stale,
    temporary_folder,
    write_text,
)
from unet3d.machine import cores
from unet3d.preprocessing.array_pool import HANDLES
from unet3d.preprocessing.checksum import hex_digits
from unet3d.preprocessing.first_read import REBUILD_HINT
from unet3d.preprocessing.store import MARKER, Store, folder_damage, marker_text, read_marker
from unet3d.progress_bars import case_bar

log = logging.getLogger(__name__)
MB = 1e6


def stage(store: Store, cases: Iterable[str], folder: Path, workers: int | None = None) -> Store:
    """The store with only `cases`, read from a copy below `folder`; the original is authoritative.

    When several processes of a node call it, one copies with `workers` threads and the others
    wait. A case appears whole, and intact cases are not copied again, so an interrupted copy
    resumes. Raises ConfigError, before anything is copied, for a folder that cannot be written or
    is too small, and DataError for a case that is damaged in the store itself.
    """
    wanted = sorted(set(cases))
    target = Path(folder).absolute() / store.path.name
    if target.resolve() == store.path.resolve():
        raise ConfigError(
            f"data.stage_to: {folder} holds the store itself; choose a folder of this node's disk"
        )
    staged = replace(store, path=target, cases={case: store.cases[case] for case in wanted})
    descriptions = {case: _read(store.path / "cases" / case / "case.json") for case in wanted}
    try:
        (target / "cases").mkdir(parents=True, exist_ok=True)
        with exclusive_lock(
            target / ".lock",
            lambda: log.info("data: waiting for another process that copies to %s", target),
        ):
            remove_stale(target / "cases")
            _copy_missing(store, staged, descriptions, workers or cores())
            _write_marker(staged)
    except OSError as error:
        raise ConfigError(
            f"data.stage_to: {folder} on {os.uname().nodename} cannot be written "
            f"({error.strerror or error}); choose a folder that can, or leave it unset"
        ) from error
    return staged


def _copy_missing(
    store: Store, staged: Store, descriptions: dict[str, bytes], workers: int
) -> None:
    """Copy the cases that are missing or out of date. descriptions: the store's case.json files."""
    folders = {case: staged.path / "cases" / case for case in staged.cases}
    missing = [c for c, folder in folders.items() if not _is_current(folder, descriptions[c])]
    if not missing:
        log.info("data: reading %d cases from %s", len(staged.cases), staged.path)
        return
    needed = sum(_case_bytes(descriptions[case]) for case in missing)
    free = shutil.disk_usage(staged.path).free
    if needed > free:
        raise ConfigError(
            f"data.stage_to: {staged.path.parent} on {os.uname().nodename} has "
            f"{free / MB:.1f} MB free, but {len(missing)} cases of {needed / MB:.1f} MB are to be "
            "copied; free some space, choose another folder, or leave it unset"
        )
    log.info(
        "data: copying %d of %d cases, %.1f MB, to %s",
        len(missing),
        len(staged.cases),
        needed / MB,
        staged.path,
    )
    start = perf_counter()
    with (
        ThreadPoolExecutor(workers, thread_name_prefix="stage") as pool,
        case_bar("copying", len(missing)) as advance,
    ):
        futures = [
            pool.submit(_copy_case, store.path / "cases" / c, folders[c], descriptions[c])
            for c in missing
        ]
        try:
            for future in as_completed(futures):
                future.result()
                advance()
        except BaseException:
            pool.shutdown(wait=False, cancel_futures=True)
            raise
    log.info("data: %d cases copied after %.1f s", len(missing), perf_counter() - start)


def _is_current(folder: Path, description: bytes) -> bool:
    """Whether a copy is intact, and of the case as it is in the store now."""
    return folder_damage(folder) is None and (folder / "case.json").read_bytes() == description


def _case_bytes(description: bytes) -> int:
    """Bytes of a case's folder."""
    files = json.loads(description)["files"]
    return sum(file["bytes"] for file in files.values()) + len(description)


def _copy_case(source: Path, target: Path, description: bytes) -> None:
    if target.exists():  # damaged, or from a store that was rebuilt
        HANDLES.forget(target)
        discard(target)
    with temporary_folder(target) as folder:
        for name, written in json.loads(description)["files"].items():
            size, checksum = _copy(source / name, folder / name)
            if (size, checksum) != (written["bytes"], written["crc32"]):
                raise DataError(
                    f"{source / name}: {size} bytes with checksum {checksum}, not "
                    f"{written['bytes']} with {written['crc32']}; {REBUILD_HINT}"
                )
        (folder / "case.json").write_bytes(description)
        publish(folder, target)


def _copy(source: Path, target: Path) -> tuple[int, str]:
    """Copy a file; returns the size and CRC-32 of the bytes read and written."""
    size, checksum = 0, 0
    with open(target, "xb") as writer:
        for block in _blocks(source):
            writer.write(block)
            size += len(block)
            checksum = zlib.crc32(block, checksum)
    return size, hex_digits(checksum)


def _blocks(path: Path) -> Iterator[bytes]:
    """A file of the store, block by block; DataError where it cannot be read."""
    try:
        with open(path, "rb") as file:
            while block := file.read(BLOCK_BYTES):
                yield block
    except OSError as error:
        raise DataError(f"{path}: {error.strerror}; {REBUILD_HINT}") from error


def _read(path: Path) -> bytes:
    return b"".join(_blocks(path))


def _write_marker(staged: Store) -> None:
    """Write store.json, last, with the cases of this and of earlier copies."""
    before = read_marker(staged.path)
    cases = {**(before.cases if before else {}), **staged.cases}
    text = marker_text(replace(staged, cases=dict(sorted(cases.items()))))
    if before is None or marker_text(before) != text:
        write_text(staged.path / MARKER, text)
