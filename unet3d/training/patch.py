"""data.patch=auto: from data set, network and memory to the patch that is trained on."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np

from unet3d.config import AUTO, Config, ConfigError
from unet3d.data.plan import choose_patch, median_size
from unet3d.data.split import Split
from unet3d.data.store import Store
from unet3d.models import stride
from unet3d.parallel.memory import GB, Memory, replica_memory
from unet3d.parallel.place import Place
from unet3d.parallel.strategy import local_replicas, sum_over_workers

if TYPE_CHECKING:
    from unet3d.models.profile import Profile


def resolve_patch(
    config: Config, store: Store, split: Split, model: Any, strategy: Any, place: Place
) -> tuple[Config, str]:
    """The settings with a patch in place of `auto`, and what was chosen and why ("" without auto).

    All workers must call it: they choose from the memory of the poorest, hence the same. Raises
    ConfigError where no patch fits.
    """
    if config.data.patch != AUTO:
        return config, ""
    own = replica_memory(config, place, local_replicas(strategy, place))
    each: np.ndarray = np.zeros(place.workers)
    each[place.rank] = own.bytes
    memory = replace(own, bytes=float(sum_over_workers(each, strategy, place).min()))
    batch = patches_at_once(config, strategy.num_replicas_in_sync)
    volume, spacing = stored_volume(store, split.train)
    patch, told = plan_patch(config, volume, spacing, model, memory, batch)
    return replace(config, data=replace(config.data, patch=patch)), told


def patches_at_once(config: Config, replicas: int) -> int:
    """Patches that a replica holds at a time: its share of a part of the batch."""
    return max(1, config.batch_size // (replicas * config.accumulate))


def step_bytes(config: Config, model: Any, batch: int) -> Callable[[Sequence[int]], float]:
    """Bytes of a training step on `batch` patches of a shape in voxels."""
    return lambda patch: step_cost(config, model, patch, batch).training_bytes


def step_cost(config: Config, model: Any, patch: Sequence[int], batch: int) -> Profile:
    """What a training step on `batch` patches costs.

    16 bits count on a GPU only: a CPU was measured to take as much memory in mixed_bfloat16 as in
    float32.
    """
    import tensorflow as tf

    from unet3d.models.profile import profile

    precision = config.precision if tf.config.list_physical_devices("GPU") else "float32"
    return profile(model, patch, batch, precision)


def stored_volume(store: Store, train: Sequence[str]) -> tuple[tuple[int, ...], list[float]]:
    """The volume that is planned for, in voxels, and its spacing in mm.

    Medians over all cases, those of the test split among them, as in nnU-Net: no label counts.
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
    """The patch for `batch` patches at once, and a line on why.

    volume, spacing: the median volume in voxels and mm. Raises ConfigError where no patch fits.
    """
    cost = step_bytes(config, model, batch)
    patch = choose_patch(volume, spacing, stride(config.model), memory.bytes, cost)
    if patch is None:
        smallest = [stride(config.model)] * 3
        raise ConfigError(
            f"data.patch: auto finds none: even {smallest} takes {gigabytes(cost(smallest))} of "
            f"the {gigabytes(memory.bytes)} that there are ({memory.told}) at {batch} patches at "
            "once; type a smaller batch_size or model.filters, or a larger data.patch_memory"
        )
    told = (
        f"{times(patch)} voxels for a median volume of {times(volume)}, as a step on {batch} at "
        f"once takes about {gigabytes(cost(patch))} of {gigabytes(memory.bytes)} ({memory.told})"
    )
    return patch, told


def times(sizes: Sequence[float]) -> str:
    """Sizes for the eye: 96x128x96."""
    return "x".join(f"{size:g}" for size in sizes)


def gigabytes(size: float) -> str:
    """Bytes for the eye."""
    return f"{size / GB:.3g} GB"
