"""Files that end with a checksum of what is before it.

HDF5 and zip pass over what follows their own end, so that such a file is read as before by
whatever reads the format. Being part of the file, the checksum is replaced, copied and sent with
it.
"""

from __future__ import annotations

import os
import re
from pathlib import Path

BLOCK_BYTES = 1 << 22
TRAILER = re.compile(rb"\nunet3d crc32 ([0-9a-f]{8})\n\Z")
TRAILER_BYTES = 23


def crc32_of_file(path: Path, length: int | None = None) -> int:
    """CRC-32 of a file or of its first `length` bytes, in blocks. Raises OSError."""
    from zlib_ng import zlib_ng  # 20 times as fast as zlib, and it lets other threads run

    checksum, left = 0, length
    with open(path, "rb") as file:
        while block := file.read(BLOCK_BYTES if left is None else min(BLOCK_BYTES, left)):
            checksum = zlib_ng.crc32(block, checksum)
            left = None if left is None else left - len(block)
    return checksum


def append_checksum(path: Path) -> None:
    """Add the checksum to a complete file, and have all of it written to the disk."""
    line = b"\nunet3d crc32 %08x\n" % crc32_of_file(path)
    with open(path, "ab") as file:
        file.write(line)
        file.flush()
        os.fsync(file.fileno())


def checksum_problem(path: Path) -> str | None:
    """How the content differs from its checksum, or None; also where a file has none.

    Earlier versions wrote none. Raises OSError.
    """
    length = path.stat().st_size - TRAILER_BYTES
    if length < 0:
        return None
    with open(path, "rb") as file:
        file.seek(length)
        found = TRAILER.match(file.read())
    if found is None:
        return None
    checksum = crc32_of_file(path, length)
    written = int(found[1], 16)
    return None if checksum == written else f"checksum {checksum:08x}, not {written:08x}"
