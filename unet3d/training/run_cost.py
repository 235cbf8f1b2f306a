"""What a training asks for, from its settings and its data: a `RunCost`."""

from __future__ import annotations

import json
from dataclasses import asdict, replace
from functools import cache
from itertools import product
from math import prod
from typing import Any

from unet3d.config.schema import AUTO, Config, ModelConfig
from unet3d.inference.sliding_window import axis_starts, padded_shape
from unet3d.planning.timing import RunCost
from unet3d.preprocessing.store import Store
from unet3d.sampling.patches import make_stream
from unet3d.sampling.split import Split

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
    forward, moved, weights = _network(json.dumps(asdict(model)), channels, outputs, shape)
    validated = split.val[: config.validation.cases]
    windows = [_windows(store.cases[case].shape, patch, config) for case in validated]
    voxels = sum(windows) / max(1, len(windows))
    return RunCost(
        epochs=config.epochs,
        steps=stream.steps_per_epoch,
        batch=config.batch_size,
        flops=(1 + BACKWARD) * forward,
        bytes=PASSES * moved,
        patch_bytes=prod(shape) * (channels * STORED + 1),
        gradient_bytes=weights * FLOAT32,
        validation_cases=len(validated),
        validation_flops=forward * voxels / prod(shape),
        val_every=config.val_every,
    )


def _windows(shape: tuple[int, ...], patch: Any, config: Config) -> float:
    """Voxels of all windows over a volume."""
    window = patch or padded_shape(shape, config.model.stride)
    padded = [max(size, width) for size, width in zip(shape, window, strict=True)]
    starts = axis_starts(padded, window, config.validation.overlap)
    return float(len(list(product(*starts))) * prod(window))


@cache
def _network(
    settings: str, channels: int, outputs: int, shape: tuple[int, int, int]
) -> tuple[float, float, float]:
    """(FLOPs of a forward pass of a patch, bytes of its activations, number of weights).

    settings: of the network, as JSON, so that equal ones are built once.
    """
    from unet3d.logs import quiet_start

    with quiet_start():
        from unet3d.models import build_model
        from unet3d.planning.cost import training_cost
    model = ModelConfig(**json.loads(settings))
    cost = training_cost(build_model(model, channels=channels, outputs=outputs, seed=0), shape)
    return float(cost.flops), float(cost.activation_bytes), float(cost.parameters)
