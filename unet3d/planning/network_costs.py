"""The cost of a network's step, counted by a process of its own, which takes no GPU's memory.

That process imports this file first, so it imports TensorFlow only where its lines are held back.
"""

from __future__ import annotations

import json
import os
from concurrent.futures import ProcessPoolExecutor
from functools import cache
from multiprocessing import get_context
from typing import TYPE_CHECKING

from unet3d.config.schema import ModelConfig
from unet3d.logs import quiet_start
from unet3d.machine import end_with_parent

if TYPE_CHECKING:
    from unet3d.planning.step_cost import Cost


@cache
def network_costs(
    settings: str, channels: int, outputs: int, shape: tuple[int, int, int]
) -> tuple[Cost, Cost]:
    """The cost of a step on one patch, and on two. settings: of the network, as JSON."""
    return _without_gpus().submit(_build_and_count, settings, channels, outputs, shape).result()


@cache
def _without_gpus() -> ProcessPoolExecutor:
    """A process to build networks in, which takes no GPU's memory from the trials."""
    return ProcessPoolExecutor(1, get_context("spawn"), _hide_gpus)


def _hide_gpus() -> None:
    os.environ["CUDA_VISIBLE_DEVICES"] = "-1"
    end_with_parent()


def _build_and_count(
    settings: str, channels: int, outputs: int, shape: tuple[int, int, int]
) -> tuple[Cost, Cost]:
    with quiet_start():
        from unet3d.models import build_model
        from unet3d.planning.cost import training_cost

        config = ModelConfig(**json.loads(settings))
        model = build_model(config, channels=channels, outputs=outputs, seed=0)
        one, two = (
            training_cost(model, shape, batch, recompute=config.recompute) for batch in (1, 2)
        )
        return one, two
