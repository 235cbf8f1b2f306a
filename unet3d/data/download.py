"""`unet3d download`: a data set's archive from its source, checked and unpacked to data.root."""

from __future__ import annotations

import errno
import logging
import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path, PurePosixPath
from urllib.parse import unquote, urlsplit

from rich.filesize import decimal

from unet3d.config import ConfigError, DataConfig, SourceConfig
from unet3d.data.atomic import publish, remove_stale, temporary_folder
from unet3d.data.decathlon import Dataset, read_dataset
from unet3d.data.errors import DataError
from unet3d.data.transfer import Version, transfer
from unet3d.data.unpack import ArchiveError, unpack

LOG = logging.getLogger(__name__)
SUFFIXES = (".tar", ".tar.gz", ".tgz", ".tar.bz2", ".tar.xz", ".zip")


def download(data: DataConfig) -> Dataset:
    """The data set at `data.root`, fetched from `data.source` where it is not there yet.

    All that is unfinished lies in the hidden folder .<name>.download beside the root, from which
    the next call goes on. Raises ConfigError for settings without a source, DataError for a server
    that refuses, a wrong checksum, an archive that is no data set, or too small a disk.
    """
    try:
        return _download(data, Path(data.root).resolve())
    except OSError as error:  # of the disk: those of the connection are told by `transfer`
        fix = "see data.root"
        if error.errno in (errno.ENOSPC, errno.EDQUOT):
            fix = "free some space, and type the same command: it goes on"
        place, reason = error.filename or data.root, error.strerror or error
        raise DataError(f"{place}: {reason}; {fix}") from error


def _download(data: DataConfig, root: Path) -> Dataset:
    if (root / "dataset.json").exists():
        LOG.info("download: %s is there already", root)
        return read_dataset(root)
    source = _source(data)
    if root.exists() and (not root.is_dir() or any(root.iterdir())):
        raise DataError(f"{root}: not empty, and no data set; set data.root to a new folder")
    with _alone(root) as work:
        if not (root / "dataset.json").exists():  # another process was quicker
            _fetch_and_unpack(source, root, work)
    return read_dataset(root)


def _source(data: DataConfig) -> SourceConfig:
    if data.phantom is not None:
        raise ConfigError(f"data={data.name}: generated on first use; there is nothing to download")
    if data.source.url is None:
        raise ConfigError(
            f"data={data.name}: has no source; type data.source.url=<address of a .tar, .tar.gz or "
            ".zip> data.source.checksum=<sha256:...>, or set data.root to a folder that is there"
        )
    return data.source


@contextmanager
def _alone(root: Path) -> Iterator[Path]:
    """The working folder beside `root`, for one process; removed unless it has bytes to keep."""
    from filelock import FileLock, Timeout

    work = root.parent / f".{root.name}.download"
    work.mkdir(parents=True, exist_ok=True)
    try:
        with FileLock(work / "lock", timeout=0):
            try:
                yield work
            finally:
                kept = [work / name for name in ("part", "archive") if (work / name).exists()]
                if not any(path.stat().st_size for path in kept):
                    shutil.rmtree(work)
    except Timeout as error:
        raise DataError(f"{root}: another process downloads it; wait until it has ended") from error


def _fetch_and_unpack(source: SourceConfig, root: Path, work: Path) -> None:
    assert source.url is not None
    remove_stale(root.parent)
    beside = root.parent / _archive_name(source.url, root)
    theirs = source.checksum is not None and beside.is_file()
    if source.keep and beside.exists() and not theirs:
        raise DataError(f"{beside}: is there already; move it away, or leave out data.source.keep")
    if theirs:
        archive = beside
        _check(archive, source.checksum)
    else:
        archive = _fetch(source.url, source.checksum, work)
    with temporary_folder(root) as folder:
        try:
            unpack(archive, folder)
            _check_data_set(folder)
        except DataError as error:
            if isinstance(error, ArchiveError) and not theirs:
                archive.unlink()  # it would be refused again
            raise DataError(f"{source.url}: {error}") from error
        if not publish(folder, root):
            raise DataError(f"{root}: was filled by another program; set data.root to a new folder")
    if source.keep and not theirs:
        os.replace(archive, beside)
        LOG.info("download: the archive is kept as %s", beside)
    elif not theirs:
        archive.unlink()


def _archive_name(url: str, root: Path) -> str:
    """What an archive that stays beside the root is called."""
    name = PurePosixPath(unquote(urlsplit(url).path)).name
    return name if name.endswith(SUFFIXES) else f"{root.name}.archive"


def _check(archive: Path, checksum: str | None) -> None:
    """DataError unless an archive that was there before has the right checksum."""
    import pooch

    assert checksum is not None
    algorithm, _, expected = checksum.lower().partition(":")
    LOG.info("download: checking %s, which is there already", archive)
    found = pooch.file_hash(str(archive), alg=algorithm)
    if found != expected:
        raise DataError(
            f"{archive}: its checksum is {algorithm}:{found}, not {checksum}; "
            "move it away, and type the command again"
        )


def _fetch(url: str, checksum: str | None, work: Path) -> Path:
    """The whole and checked archive in `work`; pooch decides whether anything is to be fetched."""
    import pooch

    archive, part = work / "archive", work / "part"
    _take_up(archive, part, url, checksum)

    def fetch(address: str, target: str, _: object) -> None:
        transfer(address, part, lambda missing, whole: _check_disk(work.parent, missing, whole))
        if checksum:
            LOG.info("download: complete; checking %s", checksum.partition(":")[0])
        os.replace(part, target)

    pooch.get_logger().setLevel(logging.WARNING)
    if not archive.exists():
        LOG.info("download: %s", url)
    try:
        pooch.retrieve(url, checksum, fname=archive.name, path=str(work), downloader=fetch)
    except DataError:
        raise
    except ValueError as error:  # the checksum: pooch has deleted the file
        raise DataError(f"{url}: {error}") from error
    if checksum is None:
        found = pooch.file_hash(str(archive))
        LOG.info("download: not checked; data.source.checksum=sha256:%s would", found)
    return archive


def _take_up(archive: Path, part: Path, url: str, checksum: str | None) -> None:
    """Bring what a killed command left in the working folder to where `_fetch` goes on from it."""
    held = Version.of(part)
    if checksum is None and archive.exists() and (held is None or held.url != url):
        archive.unlink()
    for left in part.parent.glob(f"{tempfile.gettempprefix()}*"):  # pooch's, while it checks
        if left.stat().st_size and not part.exists():
            os.replace(left, part)
        else:
            left.unlink()


def _check_disk(place: Path, missing: int, whole: int) -> None:
    free, needed = shutil.disk_usage(place).free, missing + whole
    if needed > free:
        raise DataError(
            f"{place}: {decimal(free)} are free, and {decimal(needed)} are needed: "
            f"{decimal(missing)} to fetch, and {decimal(whole)} or more unpacked; "
            "free some space, or set data.root to another disk"
        )


def _check_data_set(folder: Path) -> None:
    try:
        read_dataset(folder)
    except DataError as error:
        raise ArchiveError(str(error).replace(f"{folder}{os.sep}", "")) from error
