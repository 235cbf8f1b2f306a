"""What a training asks for, from its settings and its data: a `RunCost`."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict, replace
from itertools import cycle, islice, product
from math import prod
from typing import Any

from unet3d.config.schema import AUTO, Config, DataConfig
from unet3d.datasets.read import with_regions
from unet3d.errors import DataError
from unet3d.inference.sliding_window import axis_starts, padded_shape
from unet3d.planning.network_costs import network_costs
from unet3d.planning.simulated import SimulatedTrial
from unet3d.planning.timing import RunCost
from unet3d.preprocessing.preprocess import find_store
from unet3d.preprocessing.store import Store
from unet3d.sampling.patches import make_stream
from unet3d.sampling.split import Split, make_split
from unet3d.sampling.targets import make_targets

BACKWARD = 2.0  # FLOPs of the backward pass for each of the forward pass
PASSES = 3.0  # times that an activation is written or read: forward, and twice backward
FLOAT32, STORED = 4, 2  # bytes of a value


def run_cost(config: Config, store: Store, split: Split, outputs: int) -> RunCost:
    """The cost of a run on the cases of `split`. outputs: of the network.

    A patch that is still to be chosen counts as 128^3, or the largest volume where that is smaller.
    """
    channels, data, model = len(store.channels), config.data, config.model
    sizes = [store.cases[case].shape for case in (*split.train, *split.val)]
    patch = data.patch
    if patch == AUTO:
        patch = [min(128, -(-max(s[axis] for s in sizes) // 16) * 16) for axis in range(3)]
        data = replace(data, patch=patch)
        config = replace(config, data=data)
    stream = make_stream(
        store,
        split.train,
        data,
        config.augment,
        batch_size=config.batch_size,
        steps_per_epoch=config.steps_per_epoch,
        seed=config.seed,
        stride=model.stride,
    )
    shape = stream.patch_shape
    one, two = network_costs(json.dumps(asdict(model)), channels, outputs, shape)
    forward, patch_memory = float(one.flops), float(two.training_bytes - one.training_bytes)
    validated = split.val[: config.validation.cases]
    windows = [_windows(store.cases[case].shape, patch, config) for case in validated]
    voxels = sum(windows) / max(1, len(windows))
    return RunCost(
        epochs=config.last_epoch,
        steps=stream.steps_per_epoch,
        batch=config.batch_size,
        flops=(1 + BACKWARD) * forward,
        bytes=PASSES * one.activation_bytes,
        patch_bytes=prod(shape) * (channels * STORED + 1),
        gradient_bytes=float(one.parameters * FLOAT32),
        validation_cases=len(validated),
        validation_flops=forward * voxels / prod(shape),
        val_every=config.val_every,
        state_bytes=one.training_bytes - patch_memory,
        patch_memory=patch_memory,
        parts=config.accumulate,
    )


def _windows(shape: tuple[int, ...], patch: Any, config: Config) -> float:
    """Voxels of all windows over a volume."""
    window = patch or padded_shape(shape, config.model.stride)
    padded = [max(size, width) for size, width in zip(shape, window, strict=True)]
    starts = axis_starts(padded, window, config.validation.overlap)
    return float(len(list(product(*starts))) * prod(window))


class Stores:
    """The stores of data sets, each looked for once, as that reads from every file of one."""

    def __init__(self) -> None:
        self.found: list[tuple[DataConfig, Store]] = []

    def of(self, data: DataConfig) -> Store:
        """The store of `data`. Raises DataError where it is not built."""
        for known, store in self.found:
            if known == data:
                return store
        built = find_store(data)
        if built is None:
            raise DataError(
                f"data.root: the store of {data.root} is not built; run: unet3d preprocess"
            )
        self.found.append((data, built))
        return built


def cost_on_split(config: Config, store: Store, split: Split) -> RunCost:
    """The cost of a run on the cases of `split`, with the outputs that the data set makes."""
    targets = make_targets(with_regions(config.data, store.source), store.labels)
    return run_cost(config, store, split, len(targets.names))


def trials_like(configs: Sequence[Config], total: int) -> list[SimulatedTrial]:
    """`total` trials with the settings of `configs` in turn, on the data at data.root.

    Raises DataError where a store is not built.
    """
    stores, costs = Stores(), []
    for config in configs:
        store = stores.of(config.data)
        split = make_split(store.cases, config.data, store.source)
        costs.append(cost_on_split(config, store, split))
    return [
        SimulatedTrial(f"trial {number}", cost)
        for number, cost in enumerate(islice(cycle(costs), total))
    ]
