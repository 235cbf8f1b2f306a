"""The archive of a capsule: a zip whose first entry lists the SHA-256 of all others.

A zip, as its directory at the end shows at once whether it is cut short, a single file is read
without the rest, and every system opens it. The same files make the same bytes: entries are sorted,
and carry no dates.
"""

from __future__ import annotations

import hashlib
import json
import zipfile
import zlib
from collections.abc import Mapping
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path, PurePosixPath
from typing import Any, NoReturn

from unet3d.errors import ConfigError, RunError
from unet3d.files import replacing

MANIFEST = "manifest.json"
FORMAT = 1
COMPRESSED = (".h5", ".npz", ".png")  # or as good as: weights barely shrink
BLOCK = 1 << 20
BEGINNING = (1980, 1, 1, 0, 0, 0)  # the first time that a zip can hold


def write_archive(path: Path, run: str, files: Mapping[str, bytes | Path]) -> str:
    """Write `files` by their names in the archive; returns the SHA-256 of all of it.

    `path` appears whole or not at all. Raises OSError.
    """
    listed = {name: _described(files[name]) for name in sorted(files)}
    manifest = {"format": FORMAT, "kind": "unet3d capsule", "run": run}
    manifest |= {"unet3d": version("unet3d"), "files": listed}
    text = json.dumps(manifest, indent=1).encode()
    with replacing(path) as new:
        with zipfile.ZipFile(new, "w") as archive:
            for name, content in ((MANIFEST, text), *((name, files[name]) for name in listed)):
                _add(archive, name, content)
        return _sha256_of_file(new)


def _add(archive: zipfile.ZipFile, name: str, content: bytes | Path) -> None:
    entry = zipfile.ZipInfo(name, BEGINNING)
    entry.external_attr = 0o644 << 16
    stored = name.endswith(COMPRESSED)
    entry.compress_type = zipfile.ZIP_STORED if stored else zipfile.ZIP_DEFLATED
    if isinstance(content, bytes):
        archive.writestr(entry, content)
        return
    entry.file_size = content.stat().st_size  # whether it needs the format for large files
    with content.open("rb") as source, archive.open(entry, "w") as target:
        while block := source.read(BLOCK):
            target.write(block)


def _described(content: bytes | Path) -> dict[str, Any]:
    if isinstance(content, bytes):
        return {"bytes": len(content), "sha256": hashlib.sha256(content).hexdigest()}
    return {"bytes": content.stat().st_size, "sha256": _sha256_of_file(content)}


def _sha256_of_file(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


@dataclass(frozen=True)
class Capsule:
    """An archive whose files are all as its manifest says."""

    path: Path
    run: str
    names: frozenset[str]

    def bytes_of(self, name: str) -> bytes:
        """A file. Raises RunError where the capsule has none of this name."""
        if name not in self.names:
            raise RunError(f"check: {self.path} has no {name}, so that it cannot be checked")
        with zipfile.ZipFile(self.path) as archive:
            return archive.read(name)

    def json_of(self, name: str) -> Any:
        """A file of JSON. Raises RunError as `bytes_of`."""
        return json.loads(self.bytes_of(name))

    def unpack(self, folder: Path, within: str) -> None:
        """Write the files whose names begin with `within` below `folder`, without it."""
        with zipfile.ZipFile(self.path) as archive:
            for name in sorted(self.names):
                if name.startswith(within):
                    target = folder / name.removeprefix(within)
                    target.parent.mkdir(parents=True, exist_ok=True)
                    target.write_bytes(archive.read(name))


def open_capsule(path: Path) -> Capsule:
    """The capsule, each file read and compared with the manifest.

    Raises ConfigError for what is no file, RunError for what is no capsule, is cut short, or has
    been changed.
    """
    if not path.is_file():
        raise ConfigError(f"check: {path} is not a file; name the archive of a capsule")
    try:
        with zipfile.ZipFile(path) as archive:
            return _verified(path, archive)
    except (zipfile.BadZipFile, EOFError, NotImplementedError, zlib.error) as error:
        _refuse(path, f"is not a whole zip archive ({error}); copy it again")
    except OSError as error:
        _refuse(path, f"cannot be read ({error.strerror or error})")


def _verified(path: Path, archive: zipfile.ZipFile) -> Capsule:
    names = archive.namelist()
    if MANIFEST not in names:
        _refuse(path, f"is no capsule: it has no {MANIFEST}; unet3d capsule run=<id> makes one")
    try:
        manifest = json.loads(archive.read(MANIFEST))
        form, run, files = int(manifest["format"]), str(manifest["run"]), dict(manifest["files"])
        digests = {str(name): str(one["sha256"]) for name, one in files.items()}
    except (ValueError, KeyError, TypeError) as error:
        _refuse(path, f"is no capsule: its {MANIFEST} cannot be read ({error})")
    if form > FORMAT:
        _refuse(path, f"is of format {form}, and this version reads {FORMAT}; install a newer one")
    for name in names:
        if PurePosixPath(name).is_absolute() or ".." in PurePosixPath(name).parts:
            _refuse(path, f"holds {name}, which would be written outside of its folder")
    for name in sorted({*names} - {MANIFEST} ^ digests.keys()):
        missing = name in digests
        _refuse(path, f"{'lacks' if missing else 'holds'} {name}, against its manifest")
    for name, expected in digests.items():
        with archive.open(name) as file:
            found = hashlib.file_digest(file, "sha256").hexdigest()  # type: ignore[arg-type]
        if found != expected:
            _refuse(path, f"was changed: {name} has sha256 {found[:12]}, not {expected[:12]}")
    return Capsule(path, run, frozenset(digests))


def _refuse(path: Path, why: str) -> NoReturn:
    raise RunError(f"check: {path} {why}")
