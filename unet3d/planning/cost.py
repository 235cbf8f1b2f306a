"""What a network will cost: parameters, operations and memory, computed from shapes alone."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from math import prod
from typing import Any

import keras

from unet3d.errors import ConfigError
from unet3d.models.depthwise import DepthwiseConv3D
from unet3d.models.recompute import blocks_of
from unet3d.planning.step_cost import Cost

FLOAT32_BYTES = 4


def training_cost(
    model: keras.Model,
    patch_shape: Sequence[int],
    batch_size: int = 1,
    slots: int = 2,
    recompute: bool = False,
) -> Cost:
    """The cost of training `model`, a functional Keras model, on patches of `patch_shape` voxels.

    Values count as float32, see `unet3d.planning.patch.step_cost` for mixed precision.
    slots: float32 values the optimizer keeps per weight (Adam 2, SGD with momentum 1). recompute:
    whether only what lies between blocks is kept, and the features of one block at a time. Raises
    ConfigError for a network whose layers hold what cannot be counted.
    """
    uncounted = what_is_not_counted(model)
    if uncounted:
        raise ConfigError(
            f"model: the memory and time of {model.name} cannot be computed, as {uncounted}; type "
            "data.patch=[x,y,z] and another parallel= than auto"
        )
    operations = _operations(model)
    shapes = _output_shapes(model, operations, patch_shape)
    flops, size_of = 0, {}
    for operation in operations:
        output = shapes[id(operation.output)]
        flops += layer_flops(operation, shapes, output)
        size_of[id(operation.output)] = prod(output) * FLOAT32_BYTES * batch_size
    sizes = list(size_of.values())
    activations = _kept_of_blocks(model, size_of) if recompute else sum(sizes)
    trainable = sum(prod(weight.shape) for weight in model.trainable_weights)
    parameters = model.count_params()
    state = parameters * FLOAT32_BYTES + trainable * FLOAT32_BYTES * (1 + slots)
    return Cost(
        parameters=parameters,
        flops=flops,
        activation_bytes=activations,
        training_bytes=state + activations + sum(sorted(sizes)[-2:]),
    )


def _kept_of_blocks(model: keras.Model, sizes: Mapping[int, int]) -> int:
    """Bytes between the blocks, and within the largest of them. sizes: by the tensor's id."""
    between, within = 0, [0]
    for block in blocks_of(model):
        outputs = sum(sizes[id(output)] for output in block.outputs)
        between += outputs
        within.append(sum(sizes[id(layer.output)] for layer in block.layers) - outputs)
    return between + max(within)


def what_is_not_counted(model: keras.Model) -> str:
    """Why the cost of a network of the user's own is not known; "" where it is.

    What computes must stand in the graph once, as a layer or operation of Keras' or of ours.
    """
    for operation in _operations(model):
        own = type(operation).__module__.partition(".")[0] not in ("keras", "unet3d")
        if own or isinstance(operation, keras.Model):
            return f"its layer {operation.name} ({type(operation).__name__}) may hold others"
        try:
            several = isinstance(operation.output, (list, tuple))
        except (AttributeError, ValueError):  # of a layer that is called more than once
            several = True
        if several:
            return f"its layer {operation.name} is used more than once, or has several outputs"
    return ""


def _operations(model: keras.Model) -> list[Any]:
    """What the graph of a network computes: its layers, and operations such as x + y."""
    return [one for one in model.operations if not isinstance(one, keras.layers.InputLayer)]


def _output_shapes(
    model: keras.Model, operations: Sequence[Any], patch_shape: Sequence[int]
) -> dict[int, tuple[int, ...]]:
    """The shapes for one patch of the image and of each operation's output, by the tensor's id."""
    outputs = [operation.output for operation in operations]
    image = keras.KerasTensor((1, *patch_shape, model.inputs[0].shape[-1]))
    found = keras.Model(model.inputs, outputs).compute_output_spec(image)
    shapes = {id(out): tuple(spec.shape) for out, spec in zip(outputs, found, strict=True)}
    return shapes | {id(model.inputs[0]): tuple(image.shape)}


def layer_flops(layer: Any, shapes: dict[int, tuple[int, ...]], output: tuple[int, ...]) -> int:
    """Operations of one patch through a convolution, from its kernel and the shapes.

    A convolution applies its kernel once per output voxel, a transposed one once per input voxel.
    Other layers count as 0.
    """
    if isinstance(layer, keras.layers.Conv3DTranspose):
        voxels = prod(shapes[id(layer.input)][1:-1])
    elif isinstance(layer, keras.layers.Conv3D):
        voxels = prod(output[1:-1])
    elif isinstance(layer, DepthwiseConv3D):  # computes each voxel before it leaves some out
        voxels = prod(shapes[id(layer.input)][1:-1])
    else:
        return 0
    return 2 * voxels * prod(layer.kernel.shape)
