"""Whether every file of a complete store still holds what was written to it."""

from __future__ import annotations

import json
import logging
import os
from concurrent.futures import ThreadPoolExecutor, as_completed
from pathlib import Path

from unet3d.config import DataConfig
from unet3d.data.atomic import write_text
from unet3d.data.bar import case_bar
from unet3d.data.checksum import file_crc32, seal_holds
from unet3d.data.decathlon import read_dataset
from unet3d.data.errors import DataError
from unet3d.data.identity import input_identity, store_key, store_path
from unet3d.data.store import DAMAGED, Store, read_marker, wrong_size

LOG = logging.getLogger(__name__)


def built_store(data: DataConfig) -> Store:
    """The store that `preprocess` has built for these settings, its files unchecked.

    Raises DataError where there is none, or where the data set that names it is not there.
    """
    dataset = read_dataset(Path(data.root))
    path = store_path(data, store_key(data, dataset, input_identity(dataset)))
    store = read_marker(path)
    if store is None:
        others = sorted(p.parent.name for p in path.parent.glob(f"{data.name}-*/store.json"))
        hint = f"; other settings have built {', '.join(others)}" if others else ""
        raise DataError(f"{path}: no complete store is here; run: unet3d preprocess{hint}")
    return store


def verify(store: Store, workers: int | None = None) -> dict[str, str]:
    """Read all files of a store again; returns what is wrong with each damaged case, by its id.

    A damaged case is marked, so that `preprocess` builds it again, and nothing else is removed or
    changed. One that is found whole loses the mark of an earlier time. workers: threads.
    """
    damaged = {}
    threads = workers or len(os.sched_getaffinity(0))
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
    problem = wrong_size(folder)  # preprocess sees this without a mark
    if problem is not None:
        return problem
    found = wrong_content(folder)
    try:
        if found is None:
            (folder / DAMAGED).unlink(missing_ok=True)
            return None
        write_text(folder / DAMAGED, found)
    except OSError as error:
        LOG.warning(
            "data: %s cannot be marked (%s): delete the folder, so that it is built again",
            folder,
            error.strerror,
        )
    return None if found is None else f"{folder}/{found}"


def wrong_content(folder: Path) -> str | None:
    """The first file of a case, all of the right size, that is not what was written, and why."""
    name = "case.json"
    try:
        fields = json.loads((folder / name).read_text())
        if not seal_holds(fields):
            return f"{name}: its checksum does not fit its contents"
        for name, written in fields["files"].items():
            checksum = file_crc32(folder / name)
            if checksum != written["crc32"]:
                return f"{name}: checksum {checksum}, not {written['crc32']}"
    except OSError as error:
        return f"{name}: {error.strerror}"
    except (ValueError, KeyError, TypeError, AttributeError):
        return f"{name}: not readable"
    return None
