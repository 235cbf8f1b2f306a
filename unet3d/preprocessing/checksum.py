"""Checksums of a store's files: CRC-32, as eight hex digits."""

from __future__ import annotations

import json
import zlib
from pathlib import Path
from typing import Any

from unet3d.checksum_trailer import crc32_of_file


def file_crc32(path: Path) -> str:
    """CRC-32 of a file, read in blocks without blocking other threads. Raises OSError."""
    return hex_digits(crc32_of_file(path))


def hex_digits(checksum: int) -> str:
    """A CRC-32 as the store writes it: eight hex digits."""
    return f"{checksum:08x}"


def with_checksum(fields: dict[str, Any]) -> dict[str, Any]:
    """The fields of a case.json or store.json plus "crc32", computed over all the others."""
    text = json.dumps({**fields, "crc32": None}, sort_keys=True)
    return {**fields, "crc32": hex_digits(zlib.crc32(text.encode()))}


def checksum_matches(fields: dict[str, Any]) -> bool:
    """Whether such a file is as it was written; True in older stores, which have no checksum."""
    return "crc32" not in fields or with_checksum(fields) == fields
