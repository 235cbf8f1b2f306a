"""A network as a function from windows to logits, over the replicas of a worker."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import keras
import numpy as np
import tensorflow as tf


@dataclass(frozen=True)
class Predictor:
    """A network ready to segment. batch_size: windows that `logits` takes at once.

    logits: float32 (batch_size, x, y, z, channels) -> float32 (batch_size, x, y, z, outputs), of
    the finest level.
    """

    logits: Callable[[np.ndarray], np.ndarray]
    batch_size: int


def make_predictor(
    model: keras.Model, strategy: tf.distribute.Strategy, replicas: int, windows: int
) -> Predictor:
    """A predictor over the `replicas` of this worker, with `windows` windows on each."""

    def replica_logits(images: Any) -> Any:
        logits = model(images, training=False)
        return logits[0] if isinstance(logits, (list, tuple)) else logits

    @tf.function(reduce_retracing=True, autograph=False)
    def forward(images: Any) -> Any:
        return strategy.experimental_local_results(strategy.run(replica_logits, args=(images,)))

    def logits(images: np.ndarray) -> np.ndarray:
        if replicas == 1:
            return forward(tf.constant(images))[0].numpy()
        parts = np.split(images, replicas)
        placed = strategy.experimental_distribute_values_from_function(
            lambda context: tf.constant(parts[context.replica_id_in_sync_group % replicas])
        )
        return np.concatenate([part.numpy() for part in forward(placed)])

    return Predictor(logits, windows * replicas)
