"""Validation by sliding window over whole volumes, in the store's voxels."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np
import tensorflow as tf

from unet3d import machine
from unet3d.distributed.strategy import local_replicas
from unet3d.inference.device_window import (
    DeviceVolume,
    device_logits,
    device_volume,
    no_volume,
    volume_specs,
)
from unet3d.inference.sliding_window import padded_shape
from unet3d.losses import make_loss
from unet3d.metrics import batch_dice_counts, dice_from_counts, predicted
from unet3d.planning.patch import patches_at_once
from unet3d.sampling.targets import Targets
from unet3d.training.own_metrics import OwnMetric, case_values, mean_values

if TYPE_CHECKING:
    from unet3d.training.setup import Setup

Loaded = tuple[DeviceVolume, np.ndarray]  # with its label
Found = tuple[np.ndarray, np.ndarray | None]  # figures, and the segmentation where it is asked for
Scores = Callable[[Sequence[Loaded]], list[Found]]


@dataclass(frozen=True)
class CaseResult:
    """One volume: its loss, Dice of each output, and the values of the user's own metrics."""

    case: str
    loss: float
    dice: np.ndarray
    own: np.ndarray = field(default_factory=lambda: np.empty(0))


class Validation:
    """Segments volumes with the network as it is, one on each replica of this worker at a time.

    Windows are blended, and loss and Dice counted, on the device; only their figures come back.
    """

    def __init__(self, setup: Setup):
        self.store, self.config, self.targets = setup.store, setup.config, setup.targets
        self.metrics = setup.metrics
        self.replicas = local_replicas(setup.strategy, setup.worker)
        self.windows = windows_at_once(setup)
        self.kind = image_type(setup.config.data.dtype)
        self.scores = make_scores(setup, self.replicas, self.windows)

    def results(self, cases: Sequence[str]) -> Iterator[list[CaseResult]]:
        """Loss and Dice of each case, a list for as many as there are replicas.

        While the devices are busy, a thread a replica reads the next cases.
        """
        groups = [cases[n : n + self.replicas] for n in range(0, len(cases), self.replicas)]
        with ThreadPoolExecutor(self.replicas) as readers:
            reading = [readers.submit(self.load, case) for case in cases[: self.replicas]]
            for number, group in enumerate(groups):
                loaded = [one.result() for one in reading]
                following = groups[number + 1] if number + 1 < len(groups) else ()
                reading = [readers.submit(self.load, case) for case in following]
                found = self.scores(loaded)
                labels = [label for _, label in loaded]
                yield [self._result(*one) for one in zip(group, labels, found, strict=True)]

    def load(self, case: str) -> Loaded:
        """A stored case, its windows and its label."""
        image = self.store.image(case).astype(self.kind.as_numpy_dtype, copy=False)
        patch = self.config.data.patch or padded_shape(image.shape[:3], self.config.model.stride)
        windows = self.windows if self.config.data.patch else 1
        volume = device_volume(image, patch, self.config.validation.overlap, windows)
        return volume, self.store.label(case)

    def _result(self, case: str, label: np.ndarray, found: Found) -> CaseResult:
        scores, mask = found
        intersection, truth, prediction = scores[1:].reshape(3, -1)
        own: np.ndarray = np.empty(0)
        if mask is not None:
            spacing = self.store.cases[case].spacing
            own = case_values(self.metrics, case, self.targets.encode(label) > 0, mask > 0, spacing)
        dice = dice_from_counts((intersection, truth, prediction))
        return CaseResult(case, float(scores[0]), dice, own)


def windows_at_once(setup: Setup) -> int:
    """Windows in a replica's forward pass: on a GPU at least the patches that it trains on at once.

    Those fit with their gradients, hence without as well. On a CPU more are not faster.
    """
    config = setup.config
    if not machine.opened_gpus():
        return config.validation.batch_size
    at_once = patches_at_once(config, setup.strategy.num_replicas_in_sync)
    return max(config.validation.batch_size, at_once)


def image_type(stored: str) -> tf.DType:
    """In which images travel: as they are stored, but to a CPU, which would only widen them."""
    return tf.as_dtype(stored) if machine.opened_gpus() else tf.float32


def make_scores(setup: Setup, replicas: int, windows: int) -> Scores:
    """The traced figures of one volume a replica: float64 (1 + 3 * outputs,), loss and Dice counts.

    Beside them the segmentation, uint8 (x, y, z, outputs), where a metric of the user's own needs
    it. Given fewer volumes than replicas, it lets the others do nothing.
    """
    config, targets, model, strategy = (
        setup.config,
        setup.targets,
        setup.state.model,
        setup.strategy,
    )
    loss_of = make_loss(config.loss, targets.exclusive, targets.ignores, config.model.level_stride)
    targets_of_label = tf.constant(targets.table)
    kind, channels = image_type(config.data.dtype), len(setup.store.channels)
    smallest = config.model.stride  # which a network takes whatever its patch
    nothing: Loaded = (
        no_volume(kind.as_numpy_dtype, channels, smallest),
        np.zeros(smallest, np.uint8),
    )

    def predict(images: Any) -> Any:
        logits = model(images, training=False)
        return logits[0] if isinstance(logits, (list, tuple)) else logits

    def replica_scores(label: Any, *volume: Any) -> Any:
        logits = device_logits(
            predict, volume, config.data.patch, outputs=len(targets.names), windows=windows
        )[tf.newaxis]
        truth = tf.gather(targets_of_label, tf.cast(label, tf.int32))[tf.newaxis]
        found = batch_dice_counts(truth, logits, targets.exclusive, targets.ignores)
        counts = tf.stack(found)
        loss = tf.cast(loss_of(truth, logits), tf.float64)
        figures = tf.concat([loss, tf.reshape(counts, [-1])], 0)
        if not setup.metrics:
            return (figures,)
        mask = predicted(truth, logits, targets.exclusive, targets.ignores)[0]
        return figures, tf.cast(mask, tf.uint8)

    def all_scores(*arguments: Any) -> Any:
        each = strategy.run(replica_scores, args=arguments)
        return tuple(map(strategy.experimental_local_results, each))

    if replicas == 1:
        label = tf.TensorSpec([None] * 3, tf.uint8)
        specs = (label, *volume_specs(kind, channels))
        traced = tf.function(all_scores, autograph=False, input_signature=specs)
    else:  # the type of values on several devices has no public name
        traced = tf.function(all_scores, autograph=False, reduce_retracing=True)

    def scores(loaded: Sequence[Loaded]) -> list[Found]:
        every = [*loaded, *[nothing] * (replicas - len(loaded))]
        arrays = [(label, *volume.arrays()) for volume, label in every]
        if replicas == 1:
            found = traced(*map(tf.constant, arrays[0]))
        else:
            found = traced(*(_placed(strategy, parts) for parts in zip(*arrays, strict=True)))
        figures, *masks = ([part.numpy() for part in parts[: len(loaded)]] for parts in found)
        return list(zip(figures, masks[0] if masks else [None] * len(loaded), strict=True))

    return scores


def _placed(strategy: tf.distribute.Strategy, parts: Sequence[np.ndarray]) -> Any:
    """One array for each replica of this worker."""
    return strategy.experimental_distribute_values_from_function(
        lambda context: tf.constant(parts[context.replica_id_in_sync_group % len(parts)])
    )


def gather(
    results: dict[int, CaseResult],
    cases: tuple[str, ...],
    outputs: int,
    add: Callable[[np.ndarray], np.ndarray],
    own: int = 0,
) -> list[CaseResult]:
    """The results of all `cases`, the same on every worker.

    results: this worker's, by their index in `cases`. add: the element-wise sum over workers, in
    which each case has one summand. own: how many values of the user's own metrics a case has.
    """
    width = 1 + outputs
    table: np.ndarray = np.zeros((len(cases), width + own))
    for index, result in results.items():
        table[index] = [result.loss, *result.dice, *result.own]
    rows = zip(cases, add(table), strict=True)
    return [CaseResult(case, row[0], row[1:width], row[width:]) for case, row in rows]


def mean_metrics(
    results: list[CaseResult], targets: Targets, metrics: Sequence[OwnMetric] = ()
) -> dict[str, float]:
    """val/loss, val/dice_<output> and val/dice: means over cases, then over the regions.

    A softmax's background has its own val/dice_background, and does not count in val/dice.
    """
    mean = np.mean([result.dice for result in results], axis=0)
    counted = mean[1:] if targets.exclusive else mean
    return {
        "val/loss": float(np.mean([result.loss for result in results])),
        "val/dice": float(np.mean(counted)),
        **{f"val/dice_{n}": float(d) for n, d in zip(targets.names, mean, strict=True)},
        **mean_values(metrics, np.array([result.own for result in results]), targets),
    }
