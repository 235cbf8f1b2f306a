"""JSON descriptions of data sets: read whole, each mistake one error with the file's name."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from unet3d.datasets.dataset import short
from unet3d.errors import DataError

MOST_BYTES = 64_000_000  # of a list of cases


def read_json(path: Path) -> Any:
    """The content of a JSON file. Raises DataError with its name, FileNotFoundError if missing."""
    try:
        size = path.stat().st_size
        if size > MOST_BYTES:
            raise DataError(f"{path}: {size} bytes; a list of cases has less than {MOST_BYTES}")
        return json.loads(path.read_bytes().decode("utf-8-sig"), object_pairs_hook=_once_each)
    except (FileNotFoundError, NotADirectoryError):
        raise
    except OSError as error:
        raise DataError(f"{path}: {error.strerror}") from error
    except DataError as error:
        raise DataError(str(error) if str(path) in str(error) else f"{path}: {error}") from error
    except RecursionError as error:
        raise DataError(f"{path}: not valid JSON (nested too deeply)") from error
    except ValueError as error:
        raise DataError(f"{path}: not valid JSON ({short(error, str)})") from error


def _once_each(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) < len(pairs):
        twice = next(key for key in found if sum(key == other for other, _ in pairs) > 1)
        raise DataError(f"the key {short(twice)} is given twice")
    return found
