"""model.recompute: blocks whose features are computed again in the backward pass, not kept.

After Chen et al. 2016 ("Training deep nets with sublinear memory cost"): what lies between two
blocks is kept, what lies within one is not. docs/decisions/0030-recompute-by-blocks.md has figures.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import keras

BLOCK = re.compile(r"stem|(enc|dec)\d+_\d+")  # how the layers of a block begin their names
ENDS = ("logits", "end")  # of what follows the last block of a level


@dataclass(frozen=True)
class Block:
    """Layers of the graph of a network, the tensors that they take, and those that others need."""

    layers: tuple[Any, ...]
    inputs: tuple[Any, ...]
    outputs: tuple[Any, ...]


def blocks_of(model: keras.Model) -> list[Block]:
    """The blocks of a network of `build_model`, in the order of its graph.

    What stands between two, such as a pooling or an upsampling, joins the second.
    """
    groups = _groups(model)
    made = {id(layer.output): index for index, group in enumerate(groups) for layer in group}
    users: dict[int, set[int]] = {}
    for index, group in enumerate(groups):
        for layer in group:
            for tensor in keras.tree.flatten(layer.input):
                users.setdefault(id(tensor), set()).add(index)
    ends = {id(tensor) for tensor in keras.tree.flatten(model.output)}
    found = []
    for index, group in enumerate(groups):
        taken = {
            id(tensor): tensor
            for layer in group
            for tensor in keras.tree.flatten(layer.input)
            if made.get(id(tensor)) != index
        }
        outputs = [
            layer.output
            for layer in group
            if id(layer.output) in ends or users.get(id(layer.output), set()) - {index}
        ]
        found.append(Block(tuple(group), tuple(taken.values()), tuple(outputs)))
    return found


def _groups(model: keras.Model) -> list[list[Any]]:
    groups: list[list[Any]] = [[]]
    name = ""
    for layer in model.layers:
        if isinstance(layer, keras.layers.InputLayer):
            continue
        found = BLOCK.match(layer.name)
        alone = layer.name.startswith(ENDS)
        if alone or (name and (found is None or found[0] != name)):
            groups.append([])
            name = ""
        groups[-1].append(layer)
        name = layer.name if alone else found[0] if found else name
    return [group for group in groups if group]


def recomputed(model: keras.Model) -> Callable[[Any], Any]:
    """A call of `model` in training, from images to logits, that keeps what is between blocks.

    Gradients are those of the model itself, so long as no layer changes a state when it is called:
    no batch norm, no dropout.
    """
    import tensorflow as tf

    parts = [
        (block, keras.Model(list(block.inputs), list(block.outputs))) for block in blocks_of(model)
    ]

    def call(images: Any) -> Any:
        values = {id(model.inputs[0]): images}
        for block, network in parts:

            def features(*given: Any, network: keras.Model = network) -> list[Any]:
                return keras.tree.flatten(network(list(given), training=True))

            found = tf.recompute_grad(features)(*(values[id(taken)] for taken in block.inputs))
            pairs = zip(block.outputs, found, strict=True)
            values |= {id(output): value for output, value in pairs}
        logits = [values[id(output)] for output in keras.tree.flatten(model.output)]
        return logits if isinstance(model.output, (list, tuple)) else logits[0]

    return call
