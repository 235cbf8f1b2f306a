"""Folders and files that appear whole or not at all, even if two processes write the same one."""

from __future__ import annotations

import contextlib
import hashlib
import os
import re
import secrets
import shutil
import socket
import time
from collections.abc import Callable, Iterator
from pathlib import Path

from unet3d.disk import disk_errors_name
from unet3d.machine import lives

TEMPORARY = re.compile(r"^\..*\.tmp-(\d+)-([0-9a-f]{8})[0-9a-f]{8}$")
FOREIGN_AGE = 24 * 3600  # seconds after which another machine's temporary entry counts as stale
_active: set[str] = set()


def _host() -> str:
    return hashlib.sha256(socket.gethostname().encode()).hexdigest()[:8]


@contextlib.contextmanager
def temporary_folder(target: Path) -> Iterator[Path]:
    """A new folder beside `target`, for `publish` to move there; removed if it was not moved."""
    name = f".{target.name}.tmp-{os.getpid()}-{_host()}{secrets.token_hex(4)}"
    folder = target.parent / name
    _active.add(name)
    try:
        with disk_errors_name(target.parent):
            folder.mkdir(parents=True)
            yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)
        _active.discard(name)


@contextlib.contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """A path in a temporary folder: what is written there replaces `path`, unless it fails."""
    with temporary_folder(path) as folder:
        yield folder / path.name
        os.replace(folder / path.name, path)


def publish(folder: Path, target: Path) -> bool:
    """Move `folder` to `target` in one step; False when `target` already exists."""
    try:
        os.rename(folder, target)
    except OSError:
        if not target.exists():
            raise
        return False
    return True


def discard(folder: Path) -> None:
    """Remove a folder in one step, so that no reader sees half of it."""
    with temporary_folder(folder) as bin_, contextlib.suppress(FileNotFoundError):
        os.rename(folder, bin_ / folder.name)


def write_text(path: Path, text: str) -> None:
    """Write a file that appears whole, replacing an earlier one."""
    part = path.parent / f".{path.name}.tmp-{os.getpid()}-{_host()}{secrets.token_hex(4)}"
    with disk_errors_name(path.parent):
        path.parent.mkdir(parents=True, exist_ok=True)
        try:
            part.write_text(text, encoding="utf-8")
            os.replace(part, path)
        finally:
            with contextlib.suppress(OSError):  # on a read-only disk it is an error of its own
                part.unlink(missing_ok=True)


def read_text(path: Path) -> str | None:
    """The text of a file that another process may write; None where it does not exist."""
    try:
        return path.read_text(encoding="utf-8")
    except OSError:
        return None


@contextlib.contextmanager
def exclusive_lock(path: Path, busy: Callable[[], None]) -> Iterator[None]:
    """Hold the lock file `path`, which only one process of a machine can; freed when it dies.

    busy: called where another process holds the lock; it may raise, else the lock is waited for.
    """
    from filelock import FileLock, Timeout

    lock = FileLock(path)
    try:
        lock.acquire(timeout=0)
    except Timeout:
        busy()
        lock.acquire()
    try:
        yield
    finally:
        lock.release()


def remove_stale(parent: Path) -> int:
    """Remove what dead processes left in `parent`; returns the number of entries removed."""
    stale = stale_entries(parent)
    for entry in stale:
        if entry.is_dir():
            shutil.rmtree(entry, ignore_errors=True)
        else:
            entry.unlink(missing_ok=True)
    return len(stale)


def stale_entries(parent: Path) -> list[Path]:
    """What dead processes left in `parent`: half-written files and folders."""
    found = []
    for entry in list(parent.iterdir()) if parent.is_dir() else []:
        match = TEMPORARY.match(entry.name)
        if match and entry.name not in _active and _left_over(entry, match):
            found.append(entry)
    return found


def _left_over(entry: Path, match: re.Match[str]) -> bool:
    pid, host = int(match[1]), match[2]
    if host != _host():  # whether its process is alive cannot be seen from here
        with contextlib.suppress(OSError):
            return time.time() - entry.stat().st_mtime > FOREIGN_AGE
        return False
    if pid == os.getpid():  # not active, so left by an earlier process with our id
        return True
    return not lives(pid)
