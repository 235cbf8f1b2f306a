"""What a store depends on: the identity of the input files, and the settings that shape it."""

from __future__ import annotations

import hashlib
import json
import math
import struct
import zlib
from pathlib import Path, PurePosixPath
from typing import Any

from unet3d.config.schema import DataConfig
from unet3d.datasets.dataset import Dataset
from unet3d.datasets.dicom import dicom_files
from unet3d.datasets.itk import DETACHED, data_file
from unet3d.errors import DataError
from unet3d.preprocessing.checksum import file_crc32
from unet3d.preprocessing.store import FORMAT

START_BYTES = 4096  # of a .gz file, which hold the header of a volume
UNREADABLE = "unreadable"


def input_identity(dataset: Dataset) -> list[list[Any]]:
    """[id, [path, size, checksum] of image and label] of each case; equal for a copied data set.

    A .gz file ends with the CRC-32 and length of its content, so its last 8 bytes are enough. Of
    one in several parts, as bgzip writes it, they are of the last part, which may be empty: it is
    known by the SHA-256 of the file, as a CRC-32 over data and its own CRC-32 tells nothing.
    """
    return [
        [case.id, *(_file_identity(dataset, file) for file in (*case.images, case.label))]
        for case in dataset.cases
    ]


def case_identities(identity: list[list[Any]]) -> dict[str, str]:
    """16 hex digits for the content of each case's files, whatever their names; "" if unreadable.

    identity: what `input_identity` returns.
    """
    found = {}
    for case, *files in identity:
        contents = [rest for _, *rest in files]
        text = "" if any(UNREADABLE in rest for rest in contents) else json.dumps(contents)
        found[case] = hashlib.sha256(text.encode()).hexdigest()[:16] if text else ""
    return found


def digest(identity: list[list[Any]]) -> str:
    """SHA-256 over the identity of the inputs."""
    return hashlib.sha256(json.dumps(identity).encode()).hexdigest()


def store_key(data: DataConfig, dataset: Dataset, identity: list[list[Any]]) -> str:
    """16 hex digits over the store's format, the settings that shape it, and the inputs.

    data: with the methods of `with_methods`. `regions`, `patch`, `split` and the like are left out,
    as they do not change what is stored.
    """
    parts = {
        "format": FORMAT,
        "spacing": None if data.spacing is None else [float(size) for size in data.spacing],
        "dtype": data.dtype,
        "geometry": data.geometry,
        "channels": dataset.channels,
        "labels": dataset.labels,
        "inputs": identity,
    }
    if data.spacing is not None:  # linear and nearest in earlier versions
        parts["resampling"] = "cubic"
    if normalized(data):
        parts["normalize"] = data.normalize
    return hashlib.sha256(json.dumps(parts).encode()).hexdigest()[:16]


def normalized(data: DataConfig) -> tuple[str, ...]:
    """The methods of data.normalize, where any is not what a store of any version has: z-scores."""
    methods = tuple(data.normalize) if isinstance(data.normalize, list) else ()
    return methods if set(methods) - {"zscore"} else ()


def store_path(data: DataConfig, key: str) -> Path:
    """The folder of the store with this key."""
    return Path(data.store) / f"{data.name}-{key}"


def _file_identity(dataset: Dataset, relative: str) -> list[Any]:
    name = str(PurePosixPath(relative))  # "./a" and "a" are the same file
    if relative.endswith(DETACHED):
        return [name, *_detached_identity(dataset, relative)]
    if dataset.file(relative).is_dir():
        return [name, *_series_identity(dataset.file(relative))]
    try:
        with open(dataset.file(relative), "rb") as file:
            size = file.seek(0, 2)
            if relative.endswith(".gz"):
                file.seek(max(0, size - 8))
                trailer = file.read(8)
                file.seek(0)
                if is_of_whole_content(trailer, file.read(START_BYTES)):
                    return [name, size, trailer.hex()]
                file.seek(0)
                return [name, size, hashlib.file_digest(file, "sha256").hexdigest()]
        return [name, size, file_crc32(dataset.file(relative))]
    except (OSError, DataError):
        return [name, UNREADABLE, ""]  # the check of the headers names the reason


def _detached_identity(dataset: Dataset, relative: str) -> list[Any]:
    """The size and checksum of a header and of the file with its voxels."""
    try:
        header = dataset.file(relative)
        files = [header, *filter(None, [data_file(header)])]
        return [sum(file.stat().st_size for file in files), *map(file_crc32, files)]
    except (OSError, DataError):
        return [UNREADABLE, ""]


def _series_identity(folder: Path) -> list[Any]:
    """The size and the SHA-256 over all DICOM files in a folder, whatever they are called."""
    try:
        files = dicom_files(folder)
        each = sorted([file.stat().st_size, file_crc32(file)] for file in files)
    except (OSError, DataError):
        return [UNREADABLE, ""]
    return [sum(size for size, _ in each), hashlib.sha256(json.dumps(each).encode()).hexdigest()]


def is_of_whole_content(trailer: bytes, start: bytes) -> bool:
    """Whether the trailer of a .nii.gz file tells its content apart from any other.

    start: its first bytes. It does not where it has no checksum, or is of less than the volume
    that the header announces: the file then has several parts.
    """
    if len(trailer) < 8:
        return False
    checksum, length = struct.unpack("<II", trailer)
    announced = _announced_bytes(start)
    if checksum == 0 or announced is None:
        return False
    return length >= announced if announced < 2**32 else length == announced % 2**32


def _announced_bytes(start: bytes) -> int | None:
    """The size of the volume that starts in these bytes of a .gz file; None if not a NIfTI."""
    try:
        header = zlib.decompressobj(31).decompress(start, 348)
        for order in "<>":
            size = struct.unpack_from(f"{order}i", header)[0]
            if size == 348:
                dims = struct.unpack_from(f"{order}8h", header, 40)
                bits = struct.unpack_from(f"{order}h", header, 72)[0]
                offset = int(struct.unpack_from(f"{order}f", header, 108)[0])
            elif size == 540:
                dims = struct.unpack_from(f"{order}8q", header, 16)
                bits = struct.unpack_from(f"{order}h", header, 14)[0]
                offset = struct.unpack_from(f"{order}q", header, 168)[0]
            else:
                continue
            return int(offset + math.prod(dims[1 : 1 + dims[0]]) * bits // 8)
    except (zlib.error, struct.error, ValueError, OverflowError):
        pass
    return None
