"""data.patch=auto: the training patch, chosen for the data set, the network and the memory."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np

from unet3d.config.batch import with_replicas
from unet3d.config.schema import AUTO, Config
from unet3d.distributed.strategy import local_replicas, sum_over_workers
from unet3d.distributed.worker import WorkerContext
from unet3d.errors import ConfigError
from unet3d.planning.memory import GB, Memory, replica_memory
from unet3d.planning.rules import choose_patch, median_size
from unet3d.preprocessing.store import Store
from unet3d.sampling.split import Split

if TYPE_CHECKING:
    from unet3d.planning.step_cost import Cost


def resolve_patch(
    config: Config, store: Store, split: Split, model: Any, strategy: Any, worker: WorkerContext
) -> tuple[Config, str]:
    """The settings with a patch in place of `auto`, and what was chosen and why ("" without auto).

    All workers must call it: they plan for the smallest memory among them, so all choose the same
    patch. Raises ConfigError where no patch fits.
    """
    if config.data.patch != AUTO:
        return config, ""
    own = replica_memory(config, worker, local_replicas(strategy, worker))
    each: np.ndarray = np.zeros(worker.workers)
    each[worker.rank] = own.bytes
    memory = replace(own, bytes=float(sum_over_workers(each, strategy, worker).min()))
    batch = patches_at_once(config, strategy.num_replicas_in_sync)
    volume, spacing = stored_volume(store, split.train)
    patch, reason = plan_patch(config, volume, spacing, model, memory, batch)
    return replace(config, data=replace(config.data, patch=patch)), reason


def patches_at_once(config: Config, replicas: int) -> int:
    """Patches that a replica holds at a time: its share of one accumulation part of the batch."""
    batch = with_replicas(config, replicas).batch_size
    return max(1, batch // (replicas * config.accumulate))


def step_bytes(config: Config, model: Any, batch: int) -> Callable[[Sequence[int]], float]:
    """Bytes of a training step on `batch` patches of a shape in voxels."""
    return lambda patch: step_cost(config, model, patch, batch).training_bytes


def step_cost(config: Config, model: Any, patch: Sequence[int], batch: int) -> Cost:
    """What a training step on `batch` patches costs.

    Mixed precision counts as float32: norms keep their inputs in float32, and a step of 96^3 was
    measured to peak at 1.4 to 1.7 GB on an H100 in 16 bits, at 1.4 in float32.
    """
    from unet3d.planning.cost import training_cost

    return training_cost(model, patch, batch, recompute=config.model.recompute)


def stored_volume(store: Store, train: Sequence[str]) -> tuple[tuple[int, ...], list[float]]:
    """The volume to plan for, in voxels, and its spacing in mm.

    Medians over all cases, those of the test split among them, as in nnU-Net: labels play no part.
    """
    shapes = {case.id: case.shape for case in store.cases.values()}
    spacing = np.median([case.spacing for case in store.cases.values()], axis=0).tolist()
    return planned_volume(shapes, train), spacing


def planned_volume(shapes: Mapping[str, tuple[int, ...]], train: Sequence[str]) -> tuple[int, ...]:
    """The median of `shapes`, where that is no larger than the largest of the `train` cases."""
    largest = np.max([shapes[case] for case in train], axis=0).tolist()
    return tuple(min(pair) for pair in zip(median_size(shapes.values()), largest, strict=True))


def plan_patch(
    config: Config,
    volume: Sequence[int],
    spacing: Sequence[float],
    model: Any,
    memory: Memory,
    batch: int,
) -> tuple[list[int], str]:
    """The patch for `batch` patches at once, and a line that says why.

    volume, spacing: the median volume in voxels and mm. Raises ConfigError where no patch fits.
    """
    cost = step_bytes(config, model, batch)
    patch = choose_patch(volume, spacing, config.model.stride, memory.bytes, cost)
    if patch is None:
        smallest = list(config.model.stride)
        raise ConfigError(
            f"data.patch: auto finds none: even {smallest} takes "
            f"{format_gigabytes(cost(smallest))} of the {format_gigabytes(memory.bytes)} available "
            f"({memory.origin}) at {batch} patches at once; type a smaller batch_size or "
            "model.filters, or a larger data.patch_memory"
        )
    reason = (
        f"{format_sizes(patch)} voxels for a median volume of {format_sizes(volume)}, as a step on "
        f"{batch} at once takes about {format_gigabytes(cost(patch))} of "
        f"{format_gigabytes(memory.bytes)} ({memory.origin})"
    )
    return patch, reason


def format_sizes(sizes: Sequence[float]) -> str:
    """Sizes as text: 96x128x96."""
    return "x".join(f"{size:g}" for size in sizes)


def format_gigabytes(size: float) -> str:
    """Bytes as text: 7.25 GB."""
    return f"{size / GB:.3g} GB"
