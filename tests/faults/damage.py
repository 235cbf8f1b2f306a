"""Damage for files, and what makes a process read them as a new one would."""

from __future__ import annotations

from pathlib import Path

from unet3d.preprocessing import store as stores
from unet3d.preprocessing.array_pool import HANDLES
from unet3d.preprocessing.first_read import FIRST_READ
from unet3d.preprocessing.store import Store


def replace_content(path: Path, content: bytes) -> None:
    """As a new file: the former one may be mapped into memory."""
    path.unlink()
    path.write_bytes(content)


def flip_bit(path: Path, share: float = 0.5, bit: int = 0) -> None:
    """Flip one bit of the byte at `share` of the file's length."""
    content = bytearray(path.read_bytes())
    content[min(int(share * len(content)), len(content) - 1)] ^= 1 << bit
    replace_content(path, bytes(content))


def forget(store: Store) -> None:
    """Read a store's files as a process does that starts now."""
    HANDLES.forget(store.path)
    FIRST_READ._whole.clear()
    stores._foreground.cache_clear()
