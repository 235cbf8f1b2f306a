"""The sum of the gradients over the replicas, sent while the backward pass goes on."""

from __future__ import annotations

import math
import time
from collections.abc import Sequence
from statistics import median
from typing import Any

import tensorflow as tf

from unet3d.config.schema import ParallelConfig
from unet3d.distributed.strategy import communication_options

LARGEST_PACK = 25 * 2**20  # bytes; a larger one saves no time, and leaves less to overlap
PARTS = 8  # of small gradients, so that the first pack is sent early
LAST_PACK = 32 * 2**10  # bytes, as nothing is left to compute while it travels
GROWTH = 2  # how much larger than a pack the one before it may be


def all_reduce(grads: list[Any], parallel: ParallelConfig) -> list[Any]:
    """The sum over all replicas, on each; call it in a replica's context.

    grads: of each weight, those of the first layers first. Each pack of them is sent as soon as
    the backward pass has computed it, one after the other, in the same order on all replicas.
    With parallel.compression=bfloat16 they travel and are added up in 16 bits; their dtype comes
    back.
    """
    if tf.distribute.get_replica_context().num_replicas_in_sync == 1:
        return grads
    sums: list[Any] = []
    for first, end in packs([_size(grad) for grad in grads], parallel.pack_mb):
        sent = grads[first:end]
        if parallel.compression == "bfloat16":
            sent = [tf.cast(grad, tf.bfloat16) for grad in sent]
        sums = sum_over_replicas(sent, parallel) + sums
    return [tf.cast(total, grad.dtype) for total, grad in zip(sums, grads, strict=True)]


def sum_over_replicas(values: list[Any], parallel: ParallelConfig) -> list[Any]:
    """The sums of `values` in one exchange, as they are; call it in a replica's context."""
    replica = tf.distribute.get_replica_context()
    if replica.num_replicas_in_sync == 1:
        return values
    options = communication_options(parallel)
    return list(replica.all_reduce(tf.distribute.ReduceOp.SUM, values, options))


def packs(sizes: Sequence[int], pack_mb: float) -> list[tuple[int, int]]:
    """Gradients [first, end) of each pack, in the order in which they are ready: last layers first.

    sizes: bytes of each gradient, first layers first. pack_mb: size at which a pack is full; 0: an
    eighth of all, 25 MB at most, and less for the first layers, which are ready last: their pack is
    full at 32 KB, the one before it at twice that, and so on.
    """
    largest = pack_mb * 2**20 or min(LARGEST_PACK, sum(sizes) / PARTS)
    full = largest if pack_mb else min(LAST_PACK, largest)
    found, first, size = [], 0, 0
    for index, more in enumerate(sizes):
        size += more
        if size >= full:
            found.append((first, index + 1))
            first, size, full = index + 1, 0, min(GROWTH * full, largest)
    if first < len(sizes):
        found.append((first, len(sizes)))
    return found[::-1]


def time_all_reduce(model: Any, strategy: Any, parallel: ParallelConfig) -> float:
    """Milliseconds to add up a gradient of `model` over the replicas; all workers must call it.

    Median of five on idle devices; in a step most of it overlaps with the backward pass.
    """
    if strategy.num_replicas_in_sync == 1:
        return 0.0

    def replica_sum() -> Any:
        sums = all_reduce([tf.zeros(w.shape) for w in model.trainable_variables], parallel)
        return tf.add_n([tf.reduce_sum(total) for total in sums])

    @tf.function(autograph=False)
    def bare_sum() -> Any:
        return strategy.experimental_local_results(strategy.run(replica_sum))[0]

    seconds = []
    for _ in range(6):
        start = time.perf_counter()
        bare_sum().numpy()
        seconds.append(time.perf_counter() - start)
    return 1000 * median(seconds[1:])  # the first call compiles


def _size(grad: Any) -> int:
    return math.prod(grad.shape) * int(grad.dtype.size)
