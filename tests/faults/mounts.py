"""Small disks of memory, which can be full or read-only for root too."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest


@contextmanager
def small_disk(folder: Path, size: str = "1m") -> Iterator[Path]:
    """A disk of `size` at `folder`; the test is skipped where mounting is not permitted."""
    folder.mkdir(exist_ok=True)
    mount = ["mount", "-t", "tmpfs", "-o", f"size={size}", "tmpfs", str(folder)]
    if subprocess.run(mount, capture_output=True, check=False).returncode:
        pytest.skip("mounting is not permitted here")
    try:
        yield folder
    finally:
        subprocess.run(["umount", "-l", str(folder)], check=True)


def remount(folder: Path, *options: str) -> None:
    """Change a mounted disk: "ro", or another "size=4m"."""
    chosen = ",".join(("remount", *options))
    subprocess.run(["mount", "-o", chosen, str(folder)], check=True)


def fill(folder: Path) -> Path:
    """Use up the disk at `folder`; returns the file to remove to have space again."""
    path = folder / "filler"
    with path.open("wb", buffering=0) as file:
        try:
            while True:
                file.write(b"\0" * 4096)
        except OSError:
            return path
