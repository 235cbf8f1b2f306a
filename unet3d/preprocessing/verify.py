"""Check that every file of a complete store still holds what was written to it."""

from __future__ import annotations

import json
import logging
from concurrent.futures import ThreadPoolExecutor, as_completed
from pathlib import Path

from unet3d.config.schema import DataConfig
from unet3d.datasets.read import read_dataset
from unet3d.errors import DataError
from unet3d.files import write_text
from unet3d.machine import cores
from unet3d.preprocessing.auto_spacing import with_spacing
from unet3d.preprocessing.channel_methods import with_methods
from unet3d.preprocessing.checksum import file_crc32
from unet3d.preprocessing.first_read import DAMAGE_MARK
from unet3d.preprocessing.store import Store, read_marker, wrong_size
from unet3d.preprocessing.store_key import digest, input_identity, store_key, store_path
from unet3d.progress_bars import case_bar

log = logging.getLogger(__name__)


def built_store(data: DataConfig) -> Store:
    """The store that `preprocess` has built for these settings, its files unchecked.

    Raises DataError where there is none, or where the data set that identifies it is missing.
    """
    dataset = read_dataset(data)
    data = with_methods(data, dataset)
    identity = input_identity(dataset)
    data = with_spacing(data, dataset, digest(identity)) or data
    path = store_path(data, store_key(data, dataset, identity))
    store = read_marker(path)
    if store is None:
        others = sorted(p.parent.name for p in path.parent.glob(f"{data.name}-*/store.json"))
        hint = f"; stores of other settings: {', '.join(others)}" if others else ""
        raise DataError(f"{path}: not a complete store; run: unet3d preprocess{hint}")
    return store


def verify(store: Store, workers: int | None = None) -> dict[str, str]:
    """Read all files of a store; returns what is wrong with each damaged case, by its id.

    A damaged case is marked, so that `preprocess` rebuilds it; nothing else is removed or changed.
    An intact case loses the mark of an earlier call. workers: threads.
    """
    damaged = {}
    threads = workers or cores()
    with (
        ThreadPoolExecutor(threads, thread_name_prefix="verify") as pool,
        case_bar("verifying", len(store.cases)) as advance,
    ):
        futures = {pool.submit(_verify_case, store.path / "cases" / c): c for c in store.cases}
        try:
            for future in as_completed(futures):
                problem = future.result()
                if problem is not None:
                    damaged[futures[future]] = problem
                advance()
        except BaseException:
            pool.shutdown(wait=False, cancel_futures=True)
            raise
    return dict(sorted(damaged.items()))


def _verify_case(folder: Path) -> str | None:
    problem = wrong_size(folder)  # preprocess detects this without a mark
    if problem is not None:
        return problem
    found = wrong_content(folder)
    try:
        if found is None:
            (folder / DAMAGE_MARK).unlink(missing_ok=True)
            return None
        write_text(folder / DAMAGE_MARK, found)
    except OSError as error:
        log.warning(
            "data: %s cannot be marked (%s); delete the folder, so that it is rebuilt",
            folder,
            error.strerror,
        )
    return None if found is None else f"{folder}/{found}"


def wrong_content(folder: Path) -> str | None:
    """The first file of a case without a wrong size whose content has changed, and how."""
    name = "case.json"
    try:
        fields = json.loads((folder / name).read_text())
        for name, written in fields["files"].items():
            checksum = file_crc32(folder / name)
            if checksum != written["crc32"]:
                return f"{name}: checksum {checksum}, not {written['crc32']}"
    except OSError as error:
        return f"{name}: {error.strerror}"
    except (ValueError, KeyError, TypeError, AttributeError):
        return f"{name}: cannot be read"
    return None
