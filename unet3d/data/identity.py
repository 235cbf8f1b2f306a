"""What a store depends on: the input files' identity and the settings that shape it."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path, PurePosixPath
from typing import Any

from unet3d.config import DataConfig
from unet3d.data.checksum import file_crc32
from unet3d.data.decathlon import Dataset
from unet3d.data.errors import DataError
from unet3d.data.store import FORMAT


def input_identity(dataset: Dataset) -> list[list[Any]]:
    """[id, [path, size, checksum] of image and label] of each case; a copied data set has the same.

    A .gz file ends with the CRC-32 and length of its content, so its last 8 bytes are enough.
    """
    return [
        [case.id, _file_identity(dataset, case.image), _file_identity(dataset, case.label)]
        for case in dataset.cases
    ]


def digest(identity: list[list[Any]]) -> str:
    """sha256 over the inputs' identity."""
    return hashlib.sha256(json.dumps(identity).encode()).hexdigest()


def store_key(data: DataConfig, dataset: Dataset, identity: list[list[Any]]) -> str:
    """16 hex digits over the store's format, the settings that shape it, and the inputs.

    `regions`, `patch`, `split` and the like are left out: they choose from a store.
    """
    parts = {
        "format": FORMAT,
        "spacing": None if data.spacing is None else [float(size) for size in data.spacing],
        "dtype": data.dtype,
        "channels": dataset.channels,
        "labels": dataset.labels,
        "inputs": identity,
    }
    return hashlib.sha256(json.dumps(parts).encode()).hexdigest()[:16]


def store_path(data: DataConfig, key: str) -> Path:
    """The folder of the store with this key."""
    return Path(data.store) / f"{data.name}-{key}"


def _file_identity(dataset: Dataset, relative: str) -> list[Any]:
    name = str(PurePosixPath(relative))  # "./a" and "a" are the same file
    try:
        with open(dataset.file(relative), "rb") as file:
            size = file.seek(0, 2)
            if relative.endswith(".gz"):
                file.seek(max(0, size - 8))
                return [name, size, file.read(8).hex()]
        return [name, size, file_crc32(dataset.file(relative))]
    except (OSError, DataError):
        return [name, "unreadable", ""]  # the header stage names the reason
