"""The batches of this worker's replicas, brought to their devices ahead of the steps."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING, Any

import tensorflow as tf

from unet3d.config.schema import AugmentConfig
from unet3d.distributed.strategy import local_replicas
from unet3d.sampling.augment_device import make_intensity_change, on_device
from unet3d.sampling.widen_device import make_widen, travels_in_16_bits

if TYPE_CHECKING:
    from unet3d.training.setup import Setup

ON_DEVICE = 2  # batches that wait on the device


def distributed_batches(setup: Setup, first_step: int) -> Iterator[tuple[Any, Any]]:
    """Images and labels of this worker's positions in each global batch, for each replica."""
    strategy, config, stream = setup.strategy, setup.config, setup.stream
    worker = setup.worker
    for_device = travels_in_16_bits(config.augment)

    def dataset(context: Any) -> Any:
        last_step = config.epochs * stream.steps_per_epoch
        steps = (0, 1) if config.repeat_batch else (first_step, last_step)
        batches = stream.dataset(
            *steps,
            shard=worker.rank,
            shards=worker.workers,
            replicas=local_replicas(strategy, worker),
            for_device=for_device,
        )
        # Without an end: else the workers ask each other before each step who has a batch left.
        return (batches.cache() if config.repeat_batch else batches).repeat()

    if strategy.num_replicas_in_sync > 1:  # this brings them to the devices by itself
        batches = strategy.distribute_datasets_from_function(dataset)
    else:
        batches = on_one_device(dataset(None), one_gpu())
    if not for_device:
        return iter(batches)
    return finished(batches, config.augment, strategy)


def finished(
    batches: Iterable[Any], augment: AugmentConfig, strategy: tf.distribute.Strategy
) -> Iterator[tuple[Any, Any]]:
    """Images and labels of batches `for_device`: widened, mirrored and changed on the device."""
    widen = make_widen(strategy)
    change = make_intensity_change(augment, strategy) if on_device(augment) else None
    for narrow, stored, mirrored, *how in batches:
        images, labels = widen(narrow, stored, mirrored)
        yield (change(images, *how) if change else images), labels


def one_gpu() -> str | None:
    """The name of the GPU that a training without a strategy computes on, if there is one."""
    gpus = tf.config.list_logical_devices("GPU")
    return gpus[0].name if gpus else None


def on_one_device(batches: tf.data.Dataset, device: str | None) -> tf.data.Dataset:
    """`batches`, copied to `device` while it computes on those before; None: as they are."""
    if device is None:
        return batches
    return batches.apply(tf.data.experimental.prefetch_to_device(device, ON_DEVICE))
