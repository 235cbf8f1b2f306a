"""Folders and files that appear whole or not at all, also when two processes write the same."""

from __future__ import annotations

import contextlib
import hashlib
import os
import re
import secrets
import shutil
import socket
import time
from collections.abc import Iterator
from pathlib import Path

TEMPORARY = re.compile(r"^\..*\.tmp-(\d+)-([0-9a-f]{8})[0-9a-f]{8}$")
FOREIGN_AGE = 24 * 3600  # seconds after which another machine's temporary folder is left over
_active: set[str] = set()


def _host() -> str:
    return hashlib.sha256(socket.gethostname().encode()).hexdigest()[:8]


@contextlib.contextmanager
def temporary_folder(target: Path) -> Iterator[Path]:
    """A new folder beside `target`, to be moved there by `publish`; removed if it was not."""
    name = f".{target.name}.tmp-{os.getpid()}-{_host()}{secrets.token_hex(4)}"
    folder = target.parent / name
    _active.add(name)
    try:
        folder.mkdir(parents=True)
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)
        _active.discard(name)


def publish(folder: Path, target: Path) -> bool:
    """Move `folder` to `target` in one step; False when something is there already."""
    try:
        os.rename(folder, target)
    except OSError:
        if not target.exists():
            raise
        return False
    return True


def discard(folder: Path) -> None:
    """Take a folder away in one step, so that no reader finds half of it."""
    with temporary_folder(folder) as bin_, contextlib.suppress(FileNotFoundError):
        os.rename(folder, bin_ / folder.name)


def write_text(path: Path, text: str) -> None:
    """Write a file that appears whole, replacing what was there."""
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.parent / f".{path.name}.tmp-{os.getpid()}-{_host()}{secrets.token_hex(4)}"
    try:
        part.write_text(text, encoding="utf-8")
        os.replace(part, path)
    finally:
        part.unlink(missing_ok=True)


def remove_stale(parent: Path) -> int:
    """Remove what dead processes left in `parent`; returns how many entries."""
    removed = 0
    for entry in list(parent.iterdir()) if parent.is_dir() else []:
        match = TEMPORARY.match(entry.name)
        if match and entry.name not in _active and _left_over(entry, match):
            if entry.is_dir():
                shutil.rmtree(entry, ignore_errors=True)
            else:
                entry.unlink(missing_ok=True)
            removed += 1
    return removed


def _left_over(entry: Path, match: re.Match[str]) -> bool:
    pid, host = int(match[1]), match[2]
    if host != _host():  # its processes cannot be asked for
        with contextlib.suppress(OSError):
            return time.time() - entry.stat().st_mtime > FOREIGN_AGE
        return False
    if pid == os.getpid():  # not one of ours: an earlier process had the same id
        return True
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return True
    except PermissionError:
        return False
    return False
