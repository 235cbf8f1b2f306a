"""Checksums of a store's files: CRC-32, as eight hex digits."""

from __future__ import annotations

import json
import zlib
from pathlib import Path
from typing import Any

BLOCK = 1 << 22  # bytes


def file_crc32(path: Path) -> str:
    """CRC-32 of a file, read in blocks; other threads go on meanwhile. Raises OSError."""
    checksum = 0
    with open(path, "rb") as file:
        while block := file.read(BLOCK):
            checksum = zlib.crc32(block, checksum)
    return hex_digits(checksum)


def hex_digits(checksum: int) -> str:
    """As the store writes a CRC-32."""
    return f"{checksum:08x}"


def sealed(fields: dict[str, Any]) -> dict[str, Any]:
    """The fields of a case.json with "crc32" over all others."""
    text = json.dumps({**fields, "crc32": None}, sort_keys=True)
    return {**fields, "crc32": hex_digits(zlib.crc32(text.encode()))}


def seal_holds(fields: dict[str, Any]) -> bool:
    """Whether a case.json is as it was written; one without a seal, of older stores, counts."""
    return "crc32" not in fields or sealed(fields) == fields
