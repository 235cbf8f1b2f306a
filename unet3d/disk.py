"""A full disk or a folder that cannot be written: one line instead of a traceback."""

from __future__ import annotations

import errno
import os
import secrets
import shutil
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from unet3d.errors import FINAL_ERRORS, RunError

FULL_BYTES = 1 << 20  # a write that failed with less than this left failed for want of it
AGAIN = "type the same command again"
PROBLEMS = {
    errno.ENOSPC: f"no space is left on its disk; free some, then {AGAIN}",
    errno.EDQUOT: f"your quota of its disk is used up; free some, then {AGAIN}",
    errno.EROFS: "its disk is read-only; choose another folder",
    errno.EACCES: "this user has no permission; change its mode or owner, or choose another folder",
    errno.EPERM: "this is not permitted; change its mode or owner, or choose another folder",
}


def disk_problem(error: BaseException | None) -> str | None:
    """The line for an error of a disk, which may be the cause of `error`; None for any other."""
    while error is not None:
        if isinstance(error, OSError) and error.errno in PROBLEMS and error.filename is not None:
            folder = Path(os.fsdecode(error.filename))
            if error.errno in (errno.ENOSPC, errno.EDQUOT) and not folder.is_dir():
                folder = folder.parent
            return f"{folder}: {PROBLEMS[error.errno]}"
        error = error.__cause__ or error.__context__
    return None


@contextmanager
def disk_errors_name(folder: Path) -> Iterator[None]:
    """Errors of writing in `folder` name it; libraries word those of a full disk in their own way.

    NumPy's and HDF5's have no number, Blosc's are RuntimeErrors.
    """
    try:
        yield
    except FINAL_ERRORS:  # ours already
        raise
    except OSError as error:
        if error.errno in PROBLEMS:
            if error.filename is None:
                error.filename = str(folder)
        elif disk_is_full(folder):
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(folder)) from error
        raise
    except Exception as error:
        if disk_is_full(folder):
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(folder)) from error
        raise


def disk_is_full(folder: Path) -> bool:
    """Whether nothing more can be written there."""
    existing = next((p for p in (folder, *folder.absolute().parents) if p.is_dir()), None)
    with suppress(OSError):
        return existing is not None and shutil.disk_usage(existing).free < FULL_BYTES
    return False


def check_writable(key: str, folder: Path) -> None:
    """Make the folder and write in it, before long work. Raises RunError that names the setting."""
    probe = folder / f".probe-{os.getpid()}-{secrets.token_hex(4)}"
    try:
        folder.mkdir(parents=True, exist_ok=True)
        try:
            probe.write_bytes(os.urandom(1 << 16))
        finally:
            with suppress(OSError):
                probe.unlink(missing_ok=True)
    except OSError as error:
        if error.filename is None:
            error.filename = str(folder)
        why = PROBLEMS.get(error.errno or 0, error.strerror or str(error))
        raise RunError(f"{key}: {folder.absolute()} cannot be written: {why}") from error
