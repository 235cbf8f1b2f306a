"""A network of the user's own, `model._target_=mylab.nets.build`, held to what a training needs."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import keras

from unet3d.config.schema import ModelConfig
from unet3d.config.target import call_target
from unet3d.errors import ConfigError, in_a_line

KEY = "model._target_"
# Multiples of the stride: the smallest patch, and one whose sides differ.
TRIED = ((1, 1, 1), (2, 1, 3))


def build(model: ModelConfig, *, channels: int, outputs: int, seed: int) -> keras.Model:
    """What `model._target_` returns for `channels`, `outputs` and `model.params`, checked.

    It must be a Keras model or layer that maps float32 (batch, x, y, z, channels), of any sizes
    that model.stride divides, to float32 logits (batch, x, y, z, outputs), or to a list of them,
    level i of it model.level_stride(i) voxels apart. Initial weights without a seed of their own
    depend on `seed`.

    Raises ConfigError with the target, what it gave and what is expected.
    """
    keras.utils.set_random_seed(seed % 2**32)
    found = call_target(KEY, model._target_, model.params, channels=channels, outputs=outputs)
    if not isinstance(found, keras.Layer):
        raise _breach(
            model, f"returned {type(found).__name__}", "a keras.Model or a keras.Layer is expected"
        )
    network = _functional(model, found, channels)
    for multiple in TRIED:
        sizes = [step * times for step, times in zip(model.stride, multiple, strict=True)]
        _check_logits(model, network, sizes, channels, outputs)
    return network


def _functional(model: ModelConfig, network: keras.Layer, channels: int) -> keras.Model:
    """The network as a graph from one image, which a subclass of Model or Layer is not."""
    if getattr(network, "inputs", None) is None:
        image = keras.Input((None, None, None, channels), name="image")
        try:
            return keras.Model(image, network(image))
        except Exception as error:  # of Keras, TensorFlow or the user's own code
            raise _breach(
                model,
                f"returned a {type(network).__name__} that fails on an image of shape "
                f"{image.shape} ({in_a_line(error)})",
                "it must take sizes that are not known yet",
            ) from error
    shapes = [tuple(tensor.shape) for tensor in network.inputs]
    if shapes != [(None, None, None, None, channels)]:
        raise _breach(
            model,
            f"returned a network of inputs {shapes}",
            f"one of shape (None, None, None, None, {channels}) is expected: batch, x, y, z, "
            "channels",
        )
    return network


def _check_logits(
    model: ModelConfig, network: keras.Model, sizes: Sequence[int], channels: int, outputs: int
) -> None:
    """ConfigError unless an image of these sizes gives logits of them; computes shapes alone."""
    image = keras.KerasTensor((1, *sizes, channels), "float32")
    stride = f"model.depth and model.strides, which say that sizes divide by {list(model.stride)}"
    try:
        found: Any = network.compute_output_spec(image)
    except Exception as error:  # of Keras, TensorFlow or the user's own code
        raise _breach(
            model,
            f"returned a network that fails on {list(sizes)} voxels ({in_a_line(error)})",
            f"it must take them by {stride}",
        ) from error
    levels = found if isinstance(found, (list, tuple)) else [found]
    if not levels or len(levels) > model.depth + 1:
        raise _breach(
            model,
            f"returned a network of {len(levels)} outputs",
            "one, or with deep supervision one for each level from the finest, is expected",
        )
    for level, logits in enumerate(levels):
        steps = model.level_stride(level)
        expected = (1, *(size // step for size, step in zip(sizes, steps, strict=True)), outputs)
        if tuple(logits.shape) != expected:
            raise _breach(
                model,
                f"returned a network whose output {level} is of shape {tuple(logits.shape)} for "
                f"an image of {list(sizes)} voxels",
                f"{expected} is expected, by {outputs} outputs of this data set and by {stride}",
            )
        if logits.dtype != "float32":
            raise _breach(
                model,
                f"returned a network whose output {level} is {logits.dtype}",
                "float32 logits are expected in every precision; give its last layer "
                'dtype="float32"',
            )


def _breach(model: ModelConfig, got: str, expected: str) -> ConfigError:
    return ConfigError(f"{KEY}: {model._target_} {got}; {expected}")
