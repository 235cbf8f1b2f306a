"""What a network will cost: parameters, operations and memory, computed from shapes alone."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import prod
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import keras

FLOAT32_BYTES = 4


@dataclass(frozen=True)
class Cost:
    """The cost of a network at one patch shape and batch size.

    parameters: weights, the norms' moving statistics included.
    flops: of one forward pass of one patch, a multiply-add counted as 2; convolutions only, as the
        rest is below 2%.
    activation_bytes: the outputs of all layers for a batch, which backpropagation needs again.
    training_bytes: weights, gradients, optimizer slots, activations and the two largest gradients
        of activations; an estimate, since the runtime adds its own workspace.
    """

    parameters: int
    flops: int
    activation_bytes: int
    training_bytes: int


def training_cost(
    model: keras.Model,
    patch_shape: Sequence[int],
    batch_size: int = 1,
    slots: int = 2,
) -> Cost:
    """The cost of training `model`, a functional Keras model, on patches of `patch_shape` voxels.

    Values count as float32, see `unet3d.planning.patch.step_cost` for mixed precision.
    slots: float32 values the optimizer keeps per weight (Adam 2, SGD with momentum 1).
    """
    import keras  # here, as a process that only receives a `Cost` does without

    shapes = {id(tensor): (1, *patch_shape, tensor.shape[-1]) for tensor in model.inputs}
    flops, sizes = 0, []
    for layer in model.layers:
        if isinstance(layer, keras.layers.InputLayer):
            continue
        shape, output = layer_shapes(layer, shapes)
        shapes[id(layer.output)] = output
        flops += layer_flops(layer, shape, output)
        sizes.append(prod(output) * FLOAT32_BYTES * batch_size)
    trainable = sum(prod(weight.shape) for weight in model.trainable_weights)
    parameters = model.count_params()
    state = parameters * FLOAT32_BYTES + trainable * FLOAT32_BYTES * (1 + slots)
    return Cost(
        parameters=parameters,
        flops=flops,
        activation_bytes=sum(sizes),
        training_bytes=state + sum(sizes) + sum(sorted(sizes)[-2:]),
    )


def layer_shapes(layer: Any, shapes: dict[int, tuple[int, ...]]) -> tuple[Any, tuple[int, ...]]:
    """Input shape (a list of them where a layer merges) and output shape of one layer."""
    source = layer.input
    if isinstance(source, (list, tuple)):
        shape: Any = [shapes[id(tensor)] for tensor in source]
    else:
        shape = shapes[id(source)]
    return shape, tuple(layer.compute_output_shape(shape))


def layer_flops(layer: Any, shape: Any, output: tuple[int, ...]) -> int:
    """Operations of one patch through a convolution, from its kernel and the shapes.

    A convolution applies its kernel once per output voxel, a transposed one once per input voxel.
    Other layers count as 0.
    """
    import keras

    if isinstance(layer, keras.layers.Conv3DTranspose):
        voxels = prod(shape[1:-1])
    elif isinstance(layer, keras.layers.Conv3D):
        voxels = prod(output[1:-1])
    else:
        return 0
    return 2 * voxels * prod(layer.kernel.shape)
