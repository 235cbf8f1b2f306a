"""Preprocessing over a Ray cluster: each case on whichever node has a free core."""

from __future__ import annotations

import logging
import os
import time
from collections.abc import Callable, Generator, Iterator, Sequence
from contextlib import closing, suppress
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

from unet3d.cluster.failure import worker_failure_reason
from unet3d.cluster.local_ray import (
    RayLost,
    check_ray,
    get_watched,
    ray_lives,
    start_ray_again,
)
from unet3d.cluster.nodes import Node, alive_nodes, serving, wait_for_nodes
from unet3d.cluster.ray_cluster import ray_cluster
from unet3d.config.schema import Config, DataConfig
from unet3d.datasets.dataset import Case, Dataset
from unet3d.distributed.stop import signals_held
from unet3d.errors import DataError, RunError, RunStopped
from unet3d.files import remove_stale, temporary_folder
from unet3d.logs import collect_lines
from unet3d.preprocessing.preprocess import build_or_reuse, preprocess
from unet3d.preprocessing.store import Store, StoredCase

log = logging.getLogger(__name__)
EMPTY_SECONDS = 120.0  # without a node and without a finished case, until the job fails
POLL_SECONDS = 1.0  # between two looks at the nodes while no case finishes
STOP_SECONDS = 5.0  # for cases that have begun to finish, when the job stops


@dataclass(frozen=True)
class PreprocessJob:
    """What each node is sent; all paths are absolute."""

    dataset: Dataset
    data: DataConfig
    path: Path  # of the store
    marker: Path  # a folder in it that exists as long as the job, which nodes look for


@dataclass(frozen=True)
class BuiltCase:
    """What a node sends back: the case or what is wrong with it, and the log lines."""

    outcome: StoredCase | DataError
    lines: list[tuple[int, str]]  # level and text


def clean_and_check(job: PreprocessJob) -> str | None:
    """On a node: remove what dead processes left in the store, and return `node_problem`."""
    remove_stale(job.path / "cases")
    return node_problem(job)


def node_problem(job: PreprocessJob) -> str | None:
    """Why this node cannot build cases of the store, with its name; None where it can."""
    for key, folder, visible in (
        ("data.root", job.dataset.root, job.dataset.description.exists()),
        ("data.store", job.path.parent, job.marker.is_dir()),
    ):
        if not visible:
            return (
                f"{key}: node {os.uname().nodename} cannot see {folder}; "
                "choose a folder that all nodes share"
            )
    return None


def build_case(job: PreprocessJob, case: Case) -> BuiltCase:
    """On a node: build a case. Raises RunError where the node cannot see the store or the data."""
    problem = node_problem(job)  # of a node that joined later
    if problem is not None:
        raise RunError(problem)
    with collect_lines() as lines:
        try:
            outcome: StoredCase | DataError = build_or_reuse(job.dataset, case, job.data, job.path)
        except DataError as error:
            outcome = error
    return BuiltCase(outcome, lines)


def preprocess_in_cluster(config: Config) -> Store:
    """The store of `config.data`, its cases built on all nodes of the Ray cluster.

    The same files as `preprocess` builds. Raises DataError as that does, and RunError where no
    cluster answers, a node cannot see the data or the store, or a case killed its worker more than
    parallel.max_failures times; the other cases are built then.
    """
    return preprocess(config.data, spread=partial(spread_cases, config))


def spread_cases(
    config: Config, dataset: Dataset, cases: list[Case], data: DataConfig, path: Path
) -> Iterator[tuple[Case, StoredCase | DataError]]:
    """Each case as it is finished; see Spread in unet3d.preprocessing.preprocess."""
    if not cases:
        return
    path = path.absolute()
    with (
        signals_held() as hand_signals_on,
        temporary_folder(path / "job") as marker,
        ray_cluster(config, "the cases are built here") as local,
    ):
        if not local:
            wanted = max(config.nodes, config.parallel.min_nodes or 1)
            wait_for_nodes(config, wanted, _with_a_core, (1, 0))
        job = PreprocessJob(replace(dataset, root=dataset.root.absolute()), data, path, marker)
        missing = {case.id: case for case in cases}
        while missing:
            try:
                cases = list(missing.values())
                with closing(_build_on_nodes(config, job, cases, hand_signals_on)) as built:
                    for case, outcome in built:
                        del missing[case.id]
                        yield case, outcome
            except RayLost as lost:
                _go_on_with_new_ray(job, lost)


def _go_on_with_new_ray(job: PreprocessJob, lost: RayLost) -> None:
    """Start Ray again. Raises RunStopped where it ends again and again."""
    log.warning("parallel: %s", lost)
    try:
        start_ray_again()
    except RayLost as again:
        raise RunStopped(
            f"parallel: {again}; the cases that are built are kept, and the same command builds "
            "the others",
            1,
        ) from again
    job.marker.mkdir(exist_ok=True)


def _build_on_nodes(
    config: Config, job: PreprocessJob, cases: list[Case], hand_signals_on: Callable[[], None]
) -> Generator[tuple[Case, StoredCase | DataError], None, None]:
    """Check the nodes, build the cases, clean up. Raises RayLost, and RunError as `_build`."""
    nodes = _check_nodes(job)
    log.info("parallel: %d cases over %d node(s), one core per case", len(cases), nodes)
    try:
        yield from _build(config, job, cases, hand_signals_on)
    finally:
        if ray_lives():
            _clean_nodes(job)


def _build(
    config: Config, job: PreprocessJob, cases: list[Case], hand_signals_on: Callable[[], None]
) -> Iterator[tuple[Case, StoredCase | DataError]]:
    import ray

    build: Any = ray.remote(build_case)
    build = build.options(num_cpus=1, max_retries=config.parallel.max_failures)
    shared = ray.put(job)
    pending = {build.remote(shared, case): case for case in cases}
    lost: dict[str, str] = {}
    try:
        for reference in _as_finished(config, pending, hand_signals_on):
            case = pending.pop(reference)
            try:
                built: BuiltCase = ray.get(reference)
            except ray.exceptions.RayTaskError as error:
                check_ray()
                if isinstance(error.cause, RunError):
                    raise error.cause from error
                raise RunError(f"case {case.id}: {worker_failure_reason(error)}") from error
            except ray.exceptions.RayError as error:
                check_ray()
                lost[case.id] = worker_failure_reason(error)
                continue
            for level, line in built.lines:
                log.log(level, line)
            yield case, built.outcome
    finally:
        if pending:  # not ray.cancel: it can abort this process when a task ends at that moment
            with suppress(OSError):
                job.marker.rmdir()  # tasks that have not begun end at once
            if ray_lives():
                ray.wait(list(pending), num_returns=len(pending), timeout=STOP_SECONDS)
    if lost:
        lines = [f"  {case_id}: {reason}" for case_id, reason in sorted(lost.items())]
        raise RunError(
            f"{len(lost)} cases killed their worker {config.parallel.max_failures + 1} times "
            "(parallel.max_failures and one):\n" + "\n".join(lines) + "\nthe others are built; the "
            "same command builds only what is missing"
        )


def _as_finished(
    config: Config, pending: dict[Any, Case], hand_signals_on: Callable[[], None]
) -> Iterator[Any]:
    """References whose task has ended, until none is pending; the caller removes them.

    Raises RunError where no node is left, and what the handler of a signal raises.
    """
    import ray

    last = time.monotonic()
    while pending:
        check_ray()
        hand_signals_on()
        ready, _ = ray.wait(list(pending), num_returns=len(pending), timeout=0)
        if not ready:
            ready, _ = ray.wait(list(pending), timeout=POLL_SECONDS)
        if ready:
            last = time.monotonic()
        elif time.monotonic() - last > EMPTY_SECONDS and not _with_a_core(alive_nodes()):
            raise RunError(
                f"parallel: the cluster has no node with a core left, {len(pending)} cases are not "
                "built; start nodes, and the same command continues"
            )
        yield from ready


def _with_a_core(nodes: Sequence[Node]) -> list[Node]:
    return serving(nodes, cpus=1, gpus=0)


def _check_nodes(job: PreprocessJob) -> int:
    """How many nodes take cases; RunError that names each on which none can be built."""
    import ray

    checks = _on_each_node(job)
    problems = []
    for reference in checks:
        try:
            problems += get_watched([reference])
        except ray.exceptions.RayTaskError as error:
            problems.append(worker_failure_reason(error))
        except ray.exceptions.RayError as error:  # lost meanwhile: it gets no case either
            log.warning("parallel: a node is left out (%s)", worker_failure_reason(error))
    found = sorted({problem for problem in problems if problem})
    if found:
        raise RunError("\n".join(found))
    return len(checks)


def _clean_nodes(job: PreprocessJob) -> None:
    """Have the nodes remove what lost or stopped workers have left."""
    import ray

    checks = _on_each_node(job)
    if checks:
        ray.wait(checks, num_returns=len(checks), timeout=STOP_SECONDS)


def _on_each_node(job: PreprocessJob) -> list[Any]:
    """References of `clean_and_check` on each node that has cores."""
    import ray
    from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

    check: Any = ray.remote(clean_and_check)
    nodes = [n["NodeID"] for n in ray.nodes() if n["Alive"] and n["Resources"].get("CPU", 0) >= 1]
    return [
        check.options(
            num_cpus=0, scheduling_strategy=NodeAffinitySchedulingStrategy(node, soft=False)
        ).remote(job)
        for node in nodes
    ]
