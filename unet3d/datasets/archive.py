"""Unpack a data set from a tar or zip archive, writing nothing outside its folder."""

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

from unet3d.errors import DataError
from unet3d.progress_bars import bytes_bar

CHUNK_BYTES = 1 << 20
DAMAGE_ERRORS = (tarfile.TarError, zipfile.BadZipFile, EOFError, zlib.error, lzma.LZMAError)
UNSUPPORTED_ERRORS = (NotImplementedError, RuntimeError)  # zip: an unknown compression, a password


class ArchiveError(DataError):
    """An archive that is damaged, unsafe or not a data set: fetching it again would not help."""


@dataclass(frozen=True)
class Member:
    """A file of an archive. size: bytes when unpacked; entry: the library's own object for it."""

    path: PurePosixPath
    size: int
    entry: Any


def unpack(archive: Path, folder: Path) -> None:
    """Write the folder of the archive that holds dataset.json to the empty `folder`.

    Only plain files are written, under names that were checked; files that macOS adds (._name,
    .DS_Store) are left out. Before anything is written, raises ArchiveError for a name that leads
    outside the folder, a link, a device, or an archive without a data set, and DataError where the
    disk is too small.
    """
    try:
        if tarfile.is_tarfile(archive):
            with tarfile.open(archive) as tar:
                _write_members(_within_disk(_tar_members(tar), folder), tar.extractfile, folder)
        elif zipfile.is_zipfile(archive):
            with zipfile.ZipFile(archive) as pack:
                _write_members(_within_disk(_zip_members(pack), folder), pack.open, folder)
        else:
            raise ArchiveError("is neither a tar nor a zip archive")
    except (*DAMAGE_ERRORS, *UNSUPPORTED_ERRORS) as error:
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
        raise ArchiveError(f"contains {name}, outside the data set; nothing was unpacked")
    if not plain or size < 0:
        # Links within the folder are refused too, as a later file could be written through one.
        raise ArchiveError(
            f"contains {name}, a link or a device; pack plain files only (tar --dereference)"
        )
    return Member(path, size, entry)


def _within_disk(members: Iterable[Member], folder: Path) -> list[Member]:
    """The members, their sizes summed while listing, so that a bomb is not read to its end."""
    free, needed, listed = shutil.disk_usage(folder).free, 0, []
    for member in members:
        needed += member.size
        if needed > free:
            raise DataError(
                f"unpacks to {decimal(needed)} or more, but {decimal(free)} are free in "
                f"{folder.parent}; free some space, or set data.root to another disk"
            )
        listed.append(member)
    return listed


def _write_members(
    members: list[Member], reader: Callable[[Any], IO[bytes] | None], folder: Path
) -> None:
    prefix = _data_set(members)
    chosen = [m for m in members if m.path.is_relative_to(prefix) and not _of_macos(m.path)]
    with bytes_bar("unpack", sum(member.size for member in chosen)) as advance:
        for member in chosen:
            target = folder / member.path.relative_to(prefix)
            target.parent.mkdir(parents=True, exist_ok=True)
            source = reader(member.entry)
            assert source is not None  # a plain file
            with source, open(target, "wb") as file:
                while chunk := source.read(CHUNK_BYTES):
                    file.write(chunk)
                    advance(len(chunk))


def _data_set(members: list[Member]) -> PurePosixPath:
    """The folder within the archive that holds the topmost dataset.json, of which there is one."""
    found = [m.path.parent for m in members if m.path.name == "dataset.json"]
    highest = min((len(path.parts) for path in found), default=0)
    found = [path for path in found if len(path.parts) == highest and not _of_macos(path)]
    if len(found) != 1:
        several = f"{len(found)} dataset.json files, in {', '.join(map(str, found))}"
        raise ArchiveError(
            f"contains {several if found else 'no dataset.json'}; "
            "it must contain one data set in the Decathlon layout"
        )
    return found[0]


def _of_macos(path: PurePosixPath) -> bool:
    return any(p.startswith("._") or p in ("__MACOSX", ".DS_Store") for p in path.parts)
