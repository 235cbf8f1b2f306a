"""From a Decathlon data set to its preprocessed store, resumable and safe to run twice at once."""

from __future__ import annotations

import json
import logging
import os
import random
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor, as_completed
from pathlib import Path
from time import perf_counter
from typing import Any

from unet3d.config import DataConfig
from unet3d.data.atomic import discard, publish, remove_stale, temporary_folder, write_text
from unet3d.data.bar import case_bar
from unet3d.data.build import build_case
from unet3d.data.decathlon import Case, Dataset, read_dataset
from unet3d.data.errors import DataError
from unet3d.data.fingerprint import refresh_fingerprint, write_fingerprint
from unet3d.data.handles import HANDLES
from unet3d.data.identity import digest, input_identity, store_key, store_path
from unet3d.data.store import (
    MARKER,
    Store,
    StoredCase,
    damage,
    folder_damage,
    marker_text,
    read_marker,
    stored_case,
)
from unet3d.data.volume import check_headers

__all__ = ["preprocess", "store_key"]
LOG = logging.getLogger(__name__)

# (data set, cases, settings, the store's folder) -> each case as it ends, with what is stored or
# why it cannot be used. Builds by `build_or_reuse`, in an order and in processes of its choice.
Spread = Callable[
    [Dataset, list[Case], DataConfig, Path], Iterator[tuple[Case, StoredCase | DataError]]
]


def preprocess(data: DataConfig, *, progress: bool = True, spread: Spread | None = None) -> Store:
    """The store of a data set: found complete, or built from where an earlier try stopped.

    Raises one DataError that lists every bad case (`data.on_bad_case=fail`), or leaves those
    cases out (`skip`). progress: show how far it is. spread: who builds; None: threads.
    """
    if data.phantom is not None:
        from unet3d.data.phantom import ensure_phantoms

        ensure_phantoms(Path(data.root), data.phantom)
    dataset = read_dataset(Path(data.root))
    identity = input_identity(dataset)
    key = store_key(data, dataset, identity)
    path = store_path(data, key)
    found = _complete(path, data.on_bad_case)
    if found is not None:
        LOG.info("data: using the complete store %s (%d cases)", path, len(found.cases))
        refresh_fingerprint(found, data.regions)
        return found
    (path / "cases").mkdir(parents=True, exist_ok=True)
    remove_stale(path / "cases")
    remove_stale(path)
    built, bad = _build_all(dataset, data, path, progress, spread)
    if bad and (data.on_bad_case == "fail" or not built):
        raise DataError(_report(bad, len(dataset.cases)))
    for case_id, reason in bad.items():
        LOG.warning("data: case %s is left out: %s", case_id, reason)
    store = Store(
        path=path,
        key=key,
        digest=digest(identity),
        channels=dataset.channels,
        labels=dataset.labels,
        cases=dict(sorted(built.items())),
        skipped=dict(sorted(bad.items())),
    )
    write_fingerprint(store, data.regions)
    write_text(path / MARKER, marker_text(store))
    return store


def find_store(data: DataConfig) -> Store | None:
    """The complete store of a data set where it is built already; reads no volumes.

    Raises DataError where the data set itself cannot be read.
    """
    dataset = read_dataset(Path(data.root))
    key = store_key(data, dataset, input_identity(dataset))
    return _complete(store_path(data, key), data.on_bad_case)


def _complete(path: Path, on_bad_case: str) -> Store | None:
    store = read_marker(path)
    if store is None or (store.skipped and on_bad_case == "fail"):
        return None
    damaged = [problem for case in store.cases if (problem := damage(store, case))]
    return None if damaged else store  # `_reusable` names each damaged file as it is rebuilt


def _report(bad: dict[str, str], total: int) -> str:
    lines = [f"  {case_id}: {reason}" for case_id, reason in sorted(bad.items())]
    return "\n".join(
        [
            f"{len(bad)} of {total} cases cannot be used:",
            *lines,
            "mend or remove them, or leave them out with data.on_bad_case=skip",
        ]
    )


def _build_all(
    dataset: Dataset, data: DataConfig, path: Path, progress: bool, spread: Spread | None
) -> tuple[dict[str, StoredCase], dict[str, str]]:
    """(stored cases, reason of each bad one)."""
    workers = data.workers or len(os.sched_getaffinity(0))
    start = perf_counter()

    def check(case: Case) -> None:
        check_headers(dataset, case)

    def build(case: Case) -> StoredCase:
        return build_or_reuse(dataset, case, data, path)

    with ThreadPoolExecutor(workers, thread_name_prefix="preprocess") as pool:
        bad: dict[str, str] = {}
        _run(pool, check, dataset.cases, bad, lambda: None)
        for case_id, reason in sorted(bad.items()):
            LOG.warning("data: case %s: %s", case_id, reason)
        # two processes that build the same store start at different cases and share the work
        cases = [case for case in dataset.cases if case.id not in bad]
        random.Random(os.getpid()).shuffle(cases)
        LOG.info("data: preprocessing %d cases into %s", len(cases), path)
        with case_bar("preprocessing", len(cases), progress) as advance:
            if spread is None:
                built = _run(pool, build, cases, bad, advance)
            else:
                built = {}
                for case, outcome in spread(dataset, cases, data, path):
                    if isinstance(outcome, DataError):
                        bad[case.id] = str(outcome)
                    else:
                        built[case.id] = outcome
                    advance()
    LOG.info("data: %d cases are ready after %.1f s", len(built), perf_counter() - start)
    return built, bad


def _run(
    pool: ThreadPoolExecutor,
    task: Callable[[Case], Any],
    cases: Iterable[Case],
    bad: dict[str, str],
    advance: Callable[[], None],
) -> dict[str, Any]:
    """Run `task` on each case; what a DataError says goes to `bad`, other errors end it all."""
    done = {}
    futures = {pool.submit(task, case): case for case in cases}
    try:
        for future in as_completed(futures):
            case = futures[future]
            try:
                done[case.id] = future.result()
            except DataError as error:
                bad[case.id] = str(error)
            advance()
    except BaseException:
        pool.shutdown(wait=False, cancel_futures=True)
        raise
    return done


def build_or_reuse(dataset: Dataset, case: Case, data: DataConfig, path: Path) -> StoredCase:
    """The case in the store's folder `path`, built unless it is whole there; or DataError."""
    target = path / "cases" / case.id
    stored = _reusable(target)
    if stored is not None:
        return stored
    with temporary_folder(target) as folder:
        stored = build_case(dataset, case, data, folder)
        if not publish(folder, target):
            LOG.info("data: case %s was built by another process as well", case.id)
    return stored


def _reusable(target: Path) -> StoredCase | None:
    if not target.exists():
        return None
    problem = folder_damage(target)
    if problem is None:
        return stored_case(json.loads((target / "case.json").read_text())["case"])
    LOG.warning("data: %s; building the case again", problem)
    HANDLES.forget(target)
    discard(target)
    return None
