"""What is made for a GPU has kernels there: TensorFlow would else go by the host, in silence."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest
import tensorflow as tf
from tensorflow.python.framework import dtypes, kernels

from tests.small import small_config
from unet3d.inference.device_window import device_logits, volume_specs
from unet3d.metrics import batch_dice_counts
from unet3d.models import build_model
from unet3d.sampling.targets import make_targets
from unet3d.sampling.widen_device import make_widen
from unet3d.training.optimizer import make_optimizer
from unet3d.training.state import make_state
from unet3d.training.step import make_train_step

DATA = {tf.float32, tf.float16, tf.bfloat16, tf.float64, tf.uint8}  # of 32-bit integers, shapes
# Placed by the runtime: control flow, and what has no value of its own.
FREE = {"Placeholder", "Const", "NoOp", "Identity", "StatelessWhile", "While", "StatelessIf"}


def without_gpu_kernel(function: Any) -> set[str]:
    """The operations of a traced function, loops included, on data that no GPU kernel takes."""
    definition = function.graph.as_graph_def()
    nodes = [*definition.node, *(n for f in definition.library.function for n in f.node_def)]
    missing = set()
    for node in nodes:
        types = {
            n: tf.as_dtype(a.type) for n, a in node.attr.items() if a.WhichOneof("value") == "type"
        }
        if node.op in FREE or not DATA & set(types.values()):
            continue
        found = kernels.get_registered_kernels_for_op(node.op).kernel
        gpu = [kernel for kernel in found if kernel.device_type in ("GPU", "DEFAULT")]
        if not any(takes(kernel, types) for kernel in gpu):
            missing.add(f"{node.op} of {sorted(t.name for t in types.values())}")
    return missing


def takes(kernel: Any, types: dict[str, tf.DType]) -> bool:
    """Whether the kernel is for these type attributes."""
    return all(
        types.get(c.name) in {dtypes.as_dtype(t) for t in c.allowed_values.list.type}
        for c in kernel.constraint
        if c.name in types
    )


def test_the_check_finds_what_is_missing() -> None:
    """A gather of uint8 has none."""
    gather = tf.function(lambda x: tf.gather(x, [1, 0]))
    found = without_gpu_kernel(gather.get_concrete_function(tf.TensorSpec([4], tf.uint8)))
    assert [name.split(" ")[0] for name in found] == ["GatherV2"]


@pytest.mark.parametrize("kind", [tf.float16, tf.bfloat16])
def test_windows_loss_and_counts_stay_on_a_gpu(tmp_path: Path, kind: tf.DType) -> None:
    """From the image in 16 bits to the numbers that a validation returns."""
    from unet3d.losses import make_loss

    loss_of = make_loss(small_config(tmp_path).loss, False)

    @tf.function(autograph=False)
    def scores(label: Any, *volume: Any) -> Any:
        predict = lambda images: images[..., :1] * 2.0  # noqa: E731
        logits = device_logits(predict, volume, (8, 8, 8), outputs=1, windows=2)[tf.newaxis]
        table = tf.constant(np.eye(256, 1, dtype=np.float32))
        truth = tf.gather(table, tf.cast(label, tf.int32))[tf.newaxis]
        return loss_of(truth, logits), batch_dice_counts(truth, logits, False)

    label = tf.TensorSpec([None] * 3, tf.uint8)
    assert without_gpu_kernel(scores.get_concrete_function(label, *volume_specs(kind, 4))) == set()


@pytest.mark.parametrize("kind", [tf.float16, tf.bfloat16])
def test_patches_are_finished_on_a_gpu(kind: tf.DType) -> None:
    """Widening and mirroring, of images and labels."""

    finish: Any = make_widen(tf.distribute.get_strategy())
    specs = [
        tf.TensorSpec([2, 8, 8, 8, 4], kind),
        tf.TensorSpec([2, 8, 8, 8], tf.uint8),
        tf.TensorSpec([2, 3], tf.bool),
    ]
    assert without_gpu_kernel(finish.get_concrete_function(*specs)) == set()


@pytest.mark.parametrize("precision", ["float32", "mixed_float16"])
def test_the_step_stays_on_a_gpu(tmp_path: Path, precision: str) -> None:
    """With its split into parts, loss scale, clipping and update: labels are cast before."""
    settings = (
        "accumulate=2",
        f"precision={precision}",
        "optimizer.clip_norm=1",
        "model.norm=group",
    )
    config = small_config(tmp_path, *settings)
    before = keras.mixed_precision.global_policy()
    keras.mixed_precision.set_global_policy(precision)
    try:
        model = build_model(config.model, channels=4, outputs=3, seed=0)
        optimizer = make_optimizer(config.optimizer, 0.1)
        state = make_state(model, optimizer, scaled=precision == "mixed_float16", ema=0.9)
    finally:
        keras.mixed_precision.set_global_policy(before)
    targets = make_targets(config.data, {0: "background", 1: "edema", 2: "core", 3: "enhancing"})
    step = make_train_step(state, config, targets, tf.distribute.get_strategy())
    traced: Any = tf.function(lambda *batch: step(*batch).tensor, autograph=False)
    specs = tf.TensorSpec([2, 16, 16, 16, 4], tf.float32), tf.TensorSpec([2, 16, 16, 16], tf.uint8)
    assert without_gpu_kernel(traced.get_concrete_function(*specs)) == set()
