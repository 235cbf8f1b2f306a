"""Validation by sliding window over whole volumes, in the store's voxels."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from unet3d.config import Config
from unet3d.data.store import Store
from unet3d.data.targets import Targets
from unet3d.inference.sliding_window import padded_shape, sliding_window
from unet3d.losses import make_loss
from unet3d.metrics import dice
from unet3d.models import stride


@dataclass(frozen=True)
class CaseResult:
    """One volume: its loss, and Dice of each output."""

    case: str
    loss: float
    dice: np.ndarray


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

    @tf.function(reduce_retracing=True)
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


def predict_case(
    predictor: Predictor,
    store: Store,
    case: str,
    targets: Targets,
    config: Config,
) -> np.ndarray:
    """Logits of a stored case, float32 (x, y, z, outputs)."""
    image = store.image(case)
    patch = config.data.patch or padded_shape(image.shape[:3], stride(config.model))
    return sliding_window(
        predictor.logits,
        image,
        patch,
        outputs=len(targets.names),
        overlap=config.validation.overlap,
        batch_size=predictor.batch_size,
    )


def segment(logits: np.ndarray, exclusive: bool) -> np.ndarray:
    """Boolean (x, y, z, outputs): logit above 0, or the largest one of a softmax."""
    if not exclusive:
        return logits > 0
    return np.eye(logits.shape[-1], dtype=bool)[np.argmax(logits, axis=-1)]


def validate_case(
    predictor: Predictor,
    store: Store,
    case: str,
    targets: Targets,
    config: Config,
) -> CaseResult:
    """Loss and Dice of one volume."""
    logits = predict_case(predictor, store, case, targets, config)
    truth = targets.encode(store.label(case))
    loss = float(make_loss(config.loss, targets.exclusive)(truth[None], logits[None])[0])
    return CaseResult(case, loss, dice(truth > 0, segment(logits, targets.exclusive)))


def gather(
    results: dict[int, CaseResult],
    cases: tuple[str, ...],
    outputs: int,
    add: Callable[[np.ndarray], np.ndarray],
) -> list[CaseResult]:
    """The results of all `cases` from those that each worker has, by their index in `cases`.

    add: the element-wise sum over workers. A case has one worker, so its sum is its value.
    """
    table: np.ndarray = np.zeros((len(cases), 1 + outputs))
    for index, result in results.items():
        table[index] = [result.loss, *result.dice]
    total = add(table)
    return [CaseResult(case, row[0], row[1:]) for case, row in zip(cases, total, strict=True)]


def summarise(results: list[CaseResult], targets: Targets) -> dict[str, float]:
    """val/loss, val/dice_<output> and val/dice: means over cases, then over the regions.

    A softmax's background is told but does not count in val/dice.
    """
    mean = np.mean([result.dice for result in results], axis=0)
    counted = mean[1:] if targets.exclusive else mean
    return {
        "val/loss": float(np.mean([result.loss for result in results])),
        "val/dice": float(np.mean(counted)),
        **{f"val/dice_{n}": float(d) for n, d in zip(targets.names, mean, strict=True)},
    }
