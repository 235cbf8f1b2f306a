"""From a data set to its preprocessed store; can be resumed, and run by several at once."""

from __future__ import annotations

import glob
import json
import logging
import os
import random
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor, as_completed
from dataclasses import replace
from pathlib import Path
from time import perf_counter
from typing import Any

from unet3d.config.schema import DataConfig
from unet3d.datasets.dataset import Case, Dataset
from unet3d.datasets.grids import check_headers
from unet3d.datasets.read import read_dataset, with_regions
from unet3d.errors import DataError
from unet3d.files import discard, publish, remove_stale, temporary_folder, write_text
from unet3d.machine import cores
from unet3d.preprocessing.array_pool import HANDLES
from unet3d.preprocessing.auto_spacing import with_spacing
from unet3d.preprocessing.case import build_case
from unet3d.preprocessing.channel_methods import with_methods
from unet3d.preprocessing.fingerprint import refresh_fingerprint, write_fingerprint
from unet3d.preprocessing.store import (
    FORMAT,
    FORMAT_CHANGE,
    MARKER,
    Store,
    StoredCase,
    damage,
    folder_damage,
    keep_root,
    marker_text,
    read_marker,
    stored_case,
)
from unet3d.preprocessing.store_key import (
    case_identities,
    digest,
    input_identity,
    normalized,
    store_key,
    store_path,
)
from unet3d.progress_bars import case_bar

log = logging.getLogger(__name__)

# (data set, cases, settings, the store's folder) -> each case as it ends, with what was stored or
# why it cannot be used. Calls `build_or_reuse`, in any order and in any processes.
Spread = Callable[
    [Dataset, list[Case], DataConfig, Path], Iterator[tuple[Case, StoredCase | DataError]]
]


# (data set, identity of each case's files); raises where they are not what is expected.
Check = Callable[[Dataset, dict[str, str]], None]


def preprocess(
    data: DataConfig,
    *,
    progress: bool = True,
    spread: Spread | None = None,
    check: Check | None = None,
) -> Store:
    """The store of a data set: used if complete, else built, resuming an earlier attempt.

    Raises one DataError that lists every bad case (`data.on_bad_case=fail`), or leaves those
    cases out (`skip`). progress: show a progress bar. spread: builds the cases; None: threads of
    this process. check: called before anything is built.
    """
    if data.phantom is not None:
        from unet3d.datasets.phantom import ensure_phantoms

        ensure_phantoms(Path(data.root), data.phantom)
    dataset = read_dataset(data)
    data = with_methods(data, dataset)
    identity = input_identity(dataset)
    inputs = case_identities(identity)
    if check is not None:
        check(dataset, inputs)
    resolved = with_spacing(data, dataset, digest(identity))
    assert resolved is not None
    data = resolved
    key = store_key(data, dataset, identity)
    path = store_path(data, key)
    regions = with_regions(data, dataset).regions
    found = _complete(path, data.on_bad_case)
    if found is not None:
        log.info("data: using the complete store %s (%d cases)", path, len(found.cases))
        refresh_fingerprint(found, regions)
        keep_root(path, str(Path(data.root).resolve()))
        return replace(found, inputs=inputs, source=dataset, resampled_to=data.spacing)
    _mention_earlier_format(path, data, digest(identity))
    (path / "cases").mkdir(parents=True, exist_ok=True)
    remove_stale(path / "cases")
    remove_stale(path)
    built, bad = _build_all(dataset, data, path, progress, spread)
    if bad and (data.on_bad_case == "fail" or not built):
        raise DataError(_bad_cases_message(bad, len(dataset.cases)))
    for case_id, reason in bad.items():
        log.warning("data: case %s is left out: %s", case_id, reason)
    _check_labelled(built)
    store = Store(
        path=path,
        key=key,
        digest=digest(identity),
        channels=dataset.channels,
        labels=dataset.labels,
        cases=dict(sorted(built.items())),
        skipped=dict(sorted(bad.items())),
        inputs=inputs,
        source=dataset,
        normalize=normalized(data),
        resampled_to=data.spacing,
    )
    write_fingerprint(store, regions)
    keep_root(path, str(Path(data.root).resolve()))
    write_text(path / MARKER, marker_text(store))
    return store


def find_store(data: DataConfig) -> Store | None:
    """The complete store of a data set, or None where it is not built; reads no volumes.

    Raises DataError where the data set itself cannot be read.
    """
    dataset = read_dataset(data)
    data = with_methods(data, dataset)
    identity = input_identity(dataset)
    resolved = with_spacing(data, dataset, digest(identity), read=False)
    if resolved is None:
        return None
    path = store_path(resolved, store_key(resolved, dataset, identity))
    found = _complete(path, data.on_bad_case)
    return found and replace(found, source=dataset, resampled_to=resolved.spacing)


def _complete(path: Path, on_bad_case: str) -> Store | None:
    store = read_marker(path)
    if store is None or (store.skipped and on_bad_case == "fail"):
        return None
    damaged = [problem for case in store.cases if (problem := damage(store, case))]
    return None if damaged else store  # `_reusable` names each damaged file as it is rebuilt


def _mention_earlier_format(path: Path, data: DataConfig, inputs: str) -> None:
    """Say which store of the same files is not used, as an earlier version computed it."""
    for marker in path.parent.glob(f"{glob.escape(data.name)}-*/{MARKER}"):
        try:
            found = json.loads(marker.read_text())
            if found["format"] < FORMAT and found["digest"] == inputs:
                log.info("data: %s is of an earlier format: %s", marker.parent, FORMAT_CHANGE)
        except (OSError, ValueError, KeyError, TypeError):
            continue  # not a store, or none that anyone asked for


def _check_labelled(built: dict[str, StoredCase]) -> None:
    """Warn of cases without any label, which train as background; DataError if none has one."""
    empty = sorted(case.id for case in built.values() if not case.labels)
    if len(empty) == len(built):
        raise DataError(f"data: no label file has a foreground voxel, in {len(empty)} cases")
    if empty:
        names = ", ".join(empty[:5]) + (", ..." if len(empty) > 5 else "")
        log.warning(
            "data: %d of %d cases have an empty label and train as background: %s",
            len(empty),
            len(built),
            names,
        )


def _bad_cases_message(bad: dict[str, str], total: int) -> str:
    lines = [f"  {case_id}: {reason}" for case_id, reason in sorted(bad.items())]
    return "\n".join(
        [
            f"{len(bad)} of {total} cases cannot be used:",
            *lines,
            "fix or remove them, or leave them out with data.on_bad_case=skip",
        ]
    )


def _build_all(
    dataset: Dataset, data: DataConfig, path: Path, progress: bool, spread: Spread | None
) -> tuple[dict[str, StoredCase], dict[str, str]]:
    """(stored cases by id, the reason of each bad one by id)."""
    workers = data.workers or cores()
    start = perf_counter()

    def check(case: Case) -> None:
        check_headers(dataset, case, data.geometry)

    def build(case: Case) -> StoredCase:
        return build_or_reuse(dataset, case, data, path)

    with ThreadPoolExecutor(workers, thread_name_prefix="preprocess") as pool:
        bad: dict[str, str] = {}
        _run_on_cases(pool, check, dataset.cases, bad, lambda: None)
        if bad:
            first = min(bad)
            log.warning(
                "data: %d of %d cases cannot be used, as case %s: %s",
                len(bad),
                len(dataset.cases),
                first,
                bad[first],
            )
        # in an order of its own, so that two processes building the same store share the work
        cases = [case for case in dataset.cases if case.id not in bad]
        random.Random(os.getpid()).shuffle(cases)
        log.info("data: preprocessing %d cases into %s", len(cases), path)
        with case_bar("preprocessing", len(cases), progress) as advance:
            if spread is None:
                built = _run_on_cases(pool, build, cases, bad, advance)
            else:
                built = {}
                for case, outcome in spread(dataset, cases, data, path):
                    if isinstance(outcome, DataError):
                        bad[case.id] = str(outcome)
                    else:
                        built[case.id] = outcome
                    advance()
    log.info("data: %d cases are ready after %.1f s", len(built), perf_counter() - start)
    return built, bad


def _run_on_cases(
    pool: ThreadPoolExecutor,
    task: Callable[[Case], Any],
    cases: Iterable[Case],
    bad: dict[str, str],
    advance: Callable[[], None],
) -> dict[str, Any]:
    """Run `task` on each case; a DataError's message goes to `bad`, other errors are raised."""
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
    """The case in the store's folder `path`, built unless it is intact. Raises DataError."""
    target = path / "cases" / case.id
    stored = _reusable(target)
    if stored is not None:
        return stored
    with temporary_folder(target) as folder:
        stored = build_case(dataset, case, data, folder)
        if not publish(folder, target):
            log.info("data: case %s was also built by another process", case.id)
    return stored


def _reusable(target: Path) -> StoredCase | None:
    if not target.exists():
        return None
    problem = folder_damage(target)
    if problem is None:
        return stored_case(json.loads((target / "case.json").read_text())["case"])
    log.warning("data: %s; building the case again", problem)
    HANDLES.forget(target)
    discard(target)
    return None
