"""A data set out of a tar or zip archive, with nothing written outside its folder."""

from __future__ import annotations

import lzma
import shutil
import stat
import tarfile
import zipfile
import zlib
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import IO, Any

from rich.filesize import decimal

from unet3d.data.bytes_bar import bytes_bar
from unet3d.data.errors import DataError

CHUNK = 1 << 20  # bytes
DAMAGED = (tarfile.TarError, zipfile.BadZipFile, EOFError, zlib.error, lzma.LZMAError)
UNREADABLE = (NotImplementedError, RuntimeError)  # zip: an unknown compression, a password


class ArchiveError(DataError):
    """An archive that is damaged, hostile or no data set: fetching it again would not help."""


@dataclass(frozen=True)
class Member:
    """A file of an archive. size: bytes when unpacked; entry: what the library knows of it."""

    path: PurePosixPath
    size: int
    entry: Any


def unpack(archive: Path, folder: Path) -> None:
    """Write the folder of the archive that holds dataset.json to the empty `folder`.

    Only plain files are written, under names that were checked. Files that macOS puts beside
    others (._name, .DS_Store) are left out. Raises ArchiveError before anything is written for a
    name that leads outside, a link or a device, and for an archive without a data set; DataError
    where the disk is too small for it.
    """
    try:
        if tarfile.is_tarfile(archive):
            with tarfile.open(archive) as tar:
                _write(_within_disk(_tar_members(tar), folder), tar.extractfile, folder)
        elif zipfile.is_zipfile(archive):
            with zipfile.ZipFile(archive) as pack:
                _write(_within_disk(_zip_members(pack), folder), pack.open, folder)
        else:
            raise ArchiveError("neither a tar nor a zip archive")
    except (*DAMAGED, *UNREADABLE) as error:
        raise ArchiveError(f"cannot be unpacked ({error})") from error


def _tar_members(tar: tarfile.TarFile) -> Iterator[Member]:
    for entry in tar:
        if not entry.isdir():
            yield _member(entry.name, entry.size, entry, plain=entry.isreg())


def _zip_members(pack: zipfile.ZipFile) -> Iterator[Member]:
    for entry in pack.infolist():
        if not entry.is_dir():
            kind = stat.S_IFMT(entry.external_attr >> 16)  # 0 where packed on another system
            plain = kind in (0, stat.S_IFREG)
            yield _member(entry.filename, entry.file_size, entry, plain)


def _member(name: str, size: int, entry: Any, plain: bool) -> Member:
    path = PurePosixPath(name)
    if path.is_absolute() or ".." in path.parts:
        raise ArchiveError(f"holds {name}, which leads outside the data set; nothing is unpacked")
    if not plain or size < 0:
        # Links inside the folder are refused as well: a file may be written through one.
        raise ArchiveError(
            f"holds {name}, a link or a device; pack plain files (tar --dereference)"
        )
    return Member(path, size, entry)


def _within_disk(members: Iterable[Member], folder: Path) -> list[Member]:
    """The members, counted while they are listed: a bomb is left before it is read through."""
    free, needed, listed = shutil.disk_usage(folder).free, 0, []
    for member in members:
        needed += member.size
        if needed > free:
            raise DataError(
                f"unpacks to {decimal(needed)} or more, and {decimal(free)} are free in "
                f"{folder.parent}; free some space, or set data.root to another disk"
            )
        listed.append(member)
    return listed


def _write(members: list[Member], reader: Callable[[Any], IO[bytes] | None], folder: Path) -> None:
    prefix = _data_set(members)
    chosen = [m for m in members if m.path.is_relative_to(prefix) and not _of_macos(m.path)]
    with bytes_bar("unpack", sum(member.size for member in chosen)) as advance:
        for member in chosen:
            target = folder / member.path.relative_to(prefix)
            target.parent.mkdir(parents=True, exist_ok=True)
            source = reader(member.entry)
            assert source is not None  # a plain file
            with source, open(target, "wb") as file:
                while chunk := source.read(CHUNK):
                    file.write(chunk)
                    advance(len(chunk))


def _data_set(members: list[Member]) -> PurePosixPath:
    """The folder, within the archive, of the one dataset.json that lies highest."""
    found = [m.path.parent for m in members if m.path.name == "dataset.json"]
    highest = min((len(path.parts) for path in found), default=0)
    found = [path for path in found if len(path.parts) == highest and not _of_macos(path)]
    if len(found) != 1:
        several = f" one dataset.json but {len(found)}: {', '.join(map(str, found))}"
        raise ArchiveError(
            f"holds{several if found else ' no dataset.json'}; "
            "it must hold one data set in the Decathlon layout"
        )
    return found[0]


def _of_macos(path: PurePosixPath) -> bool:
    return any(p.startswith("._") or p in ("__MACOSX", ".DS_Store") for p in path.parts)
