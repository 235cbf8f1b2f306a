"""`unet3d download`: fetch a data set's archive, check it and unpack it to data.root."""

from __future__ import annotations

import errno
import hashlib
import logging
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path, PurePosixPath
from urllib.parse import unquote, urlsplit

from rich.filesize import decimal

from unet3d.config.schema import DataConfig, SourceConfig
from unet3d.datasets.archive import ArchiveError, unpack
from unet3d.datasets.dataset import Dataset
from unet3d.datasets.http import Version, transfer
from unet3d.datasets.read import read_dataset
from unet3d.errors import ConfigError, DataError
from unet3d.files import exclusive_lock, publish, remove_stale, temporary_folder

log = logging.getLogger(__name__)
ARCHIVE_SUFFIXES = (".tar", ".tar.gz", ".tgz", ".tar.bz2", ".tar.xz", ".zip")


def download(data: DataConfig) -> Dataset:
    """The data set at `data.root`, fetched from `data.source` where it does not exist yet.

    Unfinished work stays in the hidden folder .<name>.download beside the root, and the next call
    resumes it. Raises ConfigError for settings without a source; DataError for a server that
    refuses, a wrong checksum, an archive that is not a data set, or a disk that is too small.
    """
    try:
        return _ensure_downloaded(data, Path(data.root).resolve())
    except OSError as error:  # of the disk: `transfer` reports those of the connection
        fix = "see data.root"
        if error.errno in (errno.ENOSPC, errno.EDQUOT):
            fix = "free some space and repeat the command, which resumes the download"
        place, reason = error.filename or data.root, error.strerror or error
        raise DataError(f"{place}: {reason}; {fix}") from error


def _ensure_downloaded(data: DataConfig, root: Path) -> Dataset:
    if (root / "dataset.json").exists():
        log.info("download: %s already exists", root)
        return read_dataset(data)
    source = _source(data)
    if root.exists() and (not root.is_dir() or any(root.iterdir())):
        raise DataError(f"{root}: not empty, but not a data set; set data.root elsewhere")
    with _work_folder(root) as work:
        if not (root / "dataset.json").exists():  # unless another process was faster
            _fetch_and_unpack(data, source, root, work)
    return read_dataset(data)


def _source(data: DataConfig) -> SourceConfig:
    if data.phantom is not None:
        raise ConfigError(f"data={data.name}: generated on first use; there is nothing to download")
    if data.source.url is None:
        raise ConfigError(
            f"data={data.name}: no source is set; type data.source.url=<address of a .tar, "
            ".tar.gz or .zip> data.source.checksum=<sha256:...>, or set data.root to an existing "
            "folder"
        )
    return data.source


@contextmanager
def _work_folder(root: Path) -> Iterator[Path]:
    """The working folder beside `root`, for one process at a time; removed if nothing is kept."""
    work = root.parent / f".{root.name}.download"
    work.mkdir(parents=True, exist_ok=True)

    def refuse() -> None:
        raise DataError(f"{root}: another process is downloading it; wait until it has ended")

    with exclusive_lock(work / "lock", refuse):
        try:
            yield work
        finally:
            kept = [work / name for name in ("part", "archive") if (work / name).exists()]
            if not any(path.stat().st_size for path in kept):
                shutil.rmtree(work)


def _fetch_and_unpack(data: DataConfig, source: SourceConfig, root: Path, work: Path) -> None:
    assert source.url is not None
    remove_stale(root.parent)
    beside = root.parent / _archive_name(source.url, root)
    users_own = source.checksum is not None and beside.is_file()
    if source.keep and beside.exists() and not users_own:
        raise DataError(f"{beside}: already exists; move it away, or leave out data.source.keep")
    if users_own:
        archive = beside
        _check_archive(archive, source.checksum)
    else:
        archive = _fetch_archive(source.url, source.checksum, work)
    with temporary_folder(root) as folder:
        try:
            unpack(archive, folder)
            _check_data_set(replace(data, root=str(folder)))
        except DataError as error:
            if isinstance(error, ArchiveError) and not users_own:
                archive.unlink()  # it would only be refused again
            raise DataError(f"{source.url}: {error}") from error
        if not publish(folder, root):
            raise DataError(f"{root}: was filled by another program; set data.root to a new folder")
    if source.keep and not users_own:
        os.replace(archive, beside)
        log.info("download: the archive is kept as %s", beside)
    elif not users_own:
        archive.unlink()


def _archive_name(url: str, root: Path) -> str:
    """The name of an archive that is kept beside the root."""
    name = PurePosixPath(unquote(urlsplit(url).path)).name
    return name if name.endswith(ARCHIVE_SUFFIXES) else f"{root.name}.archive"


def _check_archive(archive: Path, checksum: str | None) -> None:
    """Raise DataError unless the archive, which existed already, has the right checksum."""
    assert checksum is not None
    log.info("download: checking %s, which already exists", archive)
    if found := _other_checksum(archive, checksum):
        raise DataError(
            f"{archive}: its checksum is {found}, not {checksum}; "
            "move it away and repeat the command"
        )


def _other_checksum(path: Path, checksum: str) -> str:
    """The checksum of a file where it is another than `checksum`; "" where it is the same."""
    algorithm, _, expected = checksum.lower().partition(":")
    found = _hash(path, algorithm)
    return "" if found == expected else f"{algorithm}:{found}"


def _hash(path: Path, algorithm: str = "sha256") -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, algorithm).hexdigest()


def _fetch_archive(url: str, checksum: str | None, work: Path) -> Path:
    """The complete, checked archive in `work`, fetched unless it is there."""
    archive, part = work / "archive", work / "part"
    _recover_part(archive, part, url, checksum)
    if archive.exists() and checksum and _other_checksum(archive, checksum):
        archive.unlink()
    if not archive.exists():
        log.info("download: %s", url)
        transfer(url, part, lambda missing, whole: _check_disk(work.parent, missing, whole))
        if checksum:
            log.info("download: complete; checking %s", checksum.partition(":")[0])
            if found := _other_checksum(part, checksum):
                part.unlink()
                raise DataError(
                    f"{url}: the checksum of what was fetched is {found}, not {checksum}; it was "
                    "removed; repeat the command, or set data.source.checksum"
                )
        os.replace(part, archive)
    if checksum is None:
        found = _hash(archive)
        log.info("download: not checked; data.source.checksum=sha256:%s would check it", found)
    return archive


def _recover_part(archive: Path, part: Path, url: str, checksum: str | None) -> None:
    """Put what a killed command left in the working folder where `_fetch_archive` resumes it."""
    held = Version.of(part)
    if checksum is None and archive.exists() and (held is None or held.url != url):
        archive.unlink()


def _check_disk(place: Path, missing: int, whole: int) -> None:
    free, needed = shutil.disk_usage(place).free, missing + whole
    if needed > free:
        raise DataError(
            f"{place}: {decimal(free)} are free, but {decimal(needed)} are needed: "
            f"{decimal(missing)} to fetch, and {decimal(whole)} or more unpacked; "
            "free some space, or set data.root to another disk"
        )


def _check_data_set(data: DataConfig) -> None:
    try:
        read_dataset(data)
    except DataError as error:
        raise ArchiveError(str(error).replace(f"{data.root}{os.sep}", "")) from error
