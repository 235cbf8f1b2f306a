"""Batches made in parallel, ahead of their use, in the memory that TensorFlow then works on."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    import tensorflow as tf

ALIGNMENT = 64  # bytes; TensorFlow copies an array that begins elsewhere


def batches_ahead(
    fill: Callable[..., None],
    places: tuple[int, int],
    size: int,
    parts: Sequence[tuple[tuple[int, ...], tf.DType]],
    threads: int,
    ahead: int,
) -> tf.data.Dataset:
    """The batches of `size` samples at places [first, end), in this order, for any `threads`.

    fill: (place, *arrays) puts a sample into its arrays, of the shapes and types of `parts`. A
    thread makes a batch, so that its samples are written once; `ahead` of them wait to be used.
    """
    import tensorflow as tf

    kinds = [kind for _, kind in parts]

    def make(number: Any) -> tuple[np.ndarray, ...]:
        batch = [aligned((size, *shape), kind.as_numpy_dtype) for shape, kind in parts]
        for k in range(size):
            fill(int(number) * size + k, *(part[k] for part in batch))
        return tuple(batch)

    @tf.autograph.experimental.do_not_convert  # leaves files behind where it is killed
    def load(number: Any) -> tuple[Any, ...]:
        arrays = tf.numpy_function(make, [number], kinds)
        shapes = [(size, *shape) for shape, _ in parts]
        return tuple(map(tf.ensure_shape, arrays, shapes))

    options = tf.data.Options()
    options.autotune.enabled = False
    options.deterministic = True
    options.threading.private_threadpool_size = threads
    options.experimental_distribute.auto_shard_policy = tf.data.experimental.AutoShardPolicy.OFF
    return (
        tf.data.Dataset.range(places[0] // size, places[1] // size)
        .map(load, num_parallel_calls=threads, deterministic=True)
        .prefetch(ahead)
        .with_options(options)
    )


def aligned(shape: tuple[int, ...], kind: Any) -> np.ndarray:
    """An empty array that begins at a multiple of ALIGNMENT."""
    kind = np.dtype(kind)
    size = int(np.prod(shape)) * kind.itemsize
    memory: np.ndarray = np.empty(size + ALIGNMENT, np.uint8)
    first = -memory.ctypes.data % ALIGNMENT
    return memory[first : first + size].view(kind).reshape(shape)
