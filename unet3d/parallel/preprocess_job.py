"""Preprocessing over a Ray cluster: one task a case, on whichever node has a core free."""

from __future__ import annotations

import logging
import time
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

from unet3d.config import Config, DataConfig
from unet3d.data.atomic import temporary_folder
from unet3d.data.decathlon import Case, Dataset
from unet3d.data.errors import DataError
from unet3d.data.preprocess import preprocess
from unet3d.data.store import Store, StoredCase
from unet3d.parallel.cluster import fitting_nodes, offer, ray_cluster
from unet3d.parallel.lost import told
from unet3d.parallel.preprocess_task import Built, Work, build_here, visit
from unet3d.training.errors import RunError

log = logging.getLogger(__name__)
ALONE_SECONDS = 120.0  # without a node and without a case ending, after which a cluster is given up
LOOK_SECONDS = 5.0  # between two looks at the nodes while no case ends
STOP_SECONDS = 5.0  # for cases under way to end, when all is stopped


def preprocess_in_cluster(config: Config) -> Store:
    """The store of `config.data`, its cases built on all nodes of the Ray cluster.

    The same files as `preprocess` alone builds. Raises DataError as that does, and RunError where
    the cluster is not there, a node does not see the data or the store, or a case took its
    worker's life parallel.max_failures times over; other cases are ready then.
    """
    return preprocess(config.data, spread=partial(spread_cases, config))


def spread_cases(
    config: Config, dataset: Dataset, cases: list[Case], data: DataConfig, path: Path
) -> Iterator[tuple[Case, StoredCase | DataError]]:
    """Each case as it ends; see Spread in unet3d.data.preprocess."""
    if not cases:
        return
    path = path.absolute()
    with (
        temporary_folder(path / "job") as job,
        ray_cluster(config, "the cores of this machine") as local,
    ):
        if not local:
            offer(config, local, config.nodes)  # waits for so many nodes
        work = Work(replace(dataset, root=dataset.root.absolute()), data, path, job)
        nodes = _check_nodes(work)
        log.info("parallel: %d cases over %d node(s), a core a case", len(cases), nodes)
        try:
            yield from _build(config, work, cases)
        finally:
            _clear(work)


def _build(
    config: Config, work: Work, cases: list[Case]
) -> Iterator[tuple[Case, StoredCase | DataError]]:
    import ray

    task: Any = ray.remote(build_here)
    task = task.options(num_cpus=1, max_retries=config.parallel.max_failures)
    shared = ray.put(work)
    pending = {task.remote(shared, case): case for case in cases}
    lost: dict[str, str] = {}
    try:
        for reference in _as_they_end(config, pending):
            case = pending.pop(reference)
            try:
                built: Built = ray.get(reference)
            except ray.exceptions.RayTaskError as error:
                if isinstance(error.cause, RunError):
                    raise error.cause from error
                raise RunError(f"case {case.id}: {told(error)}") from error
            except ray.exceptions.RayError as error:
                lost[case.id] = told(error)
                continue
            for level, line in built.lines:
                log.log(level, line)
            yield case, built.outcome
    finally:
        if pending:  # ray.cancel was seen to abort this process where a task ends just then
            with suppress(OSError):
                work.job.rmdir()  # tasks that have not begun end at once
            ray.wait(list(pending), num_returns=len(pending), timeout=STOP_SECONDS)
    if lost:
        lines = [f"  {case_id}: {reason}" for case_id, reason in sorted(lost.items())]
        raise RunError(
            f"{len(lost)} cases took their worker's life {config.parallel.max_failures + 1} times "
            "(parallel.max_failures and one):\n" + "\n".join(lines) + "\nthe others are ready; the "
            "same command builds only what is missing"
        )


def _as_they_end(config: Config, pending: dict[Any, Case]) -> Iterator[Any]:
    """References whose task has ended, until none is pending; the caller takes them out.

    Raises RunError where no node is left.
    """
    import ray

    ended = time.monotonic()
    while pending:
        ready, _ = ray.wait(list(pending), num_returns=len(pending), timeout=0)
        if not ready:
            ready, _ = ray.wait(list(pending), timeout=LOOK_SECONDS)
        if ready:
            ended = time.monotonic()
        elif time.monotonic() - ended > ALONE_SECONDS and not fitting_nodes(config):
            raise RunError(
                f"parallel: no node with a core is left of the cluster, {len(pending)} cases are "
                "not built; start nodes, and the same command goes on"
            )
        yield from ready


def _check_nodes(work: Work) -> int:
    """How many nodes take cases; RunError that names each on which none can be built."""
    import ray

    visits = _visits(work)
    problems = []
    for reference in visits:
        try:
            problems.append(ray.get(reference))
        except ray.exceptions.RayTaskError as error:
            problems.append(told(error))
        except ray.exceptions.RayError as error:  # lost meanwhile: it gets no case either
            log.warning("parallel: a node is left out (%s)", told(error))
    blind = sorted({problem for problem in problems if problem})
    if blind:
        raise RunError("\n".join(blind))
    return len(visits)


def _clear(work: Work) -> None:
    """Have the nodes clear away what workers that were lost or stopped have left."""
    import ray

    visits = _visits(work)
    if visits:
        ray.wait(visits, num_returns=len(visits), timeout=STOP_SECONDS)


def _visits(work: Work) -> list[Any]:
    """References of a `visit` to each node that has cores."""
    import ray
    from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

    task: Any = ray.remote(visit)
    nodes = [n["NodeID"] for n in ray.nodes() if n["Alive"] and n["Resources"].get("CPU", 0) >= 1]
    return [
        task.options(
            num_cpus=0, scheduling_strategy=NodeAffinitySchedulingStrategy(node, soft=False)
        ).remote(work)
        for node in nodes
    ]
