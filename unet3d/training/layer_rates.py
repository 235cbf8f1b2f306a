"""optimizer.layer_lr: layers that learn at a part of the rate, as in fine-tuning."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any

import keras

from unet3d.errors import ConfigError, RunError
from unet3d.training.fine_tuning import listed

KEY = "optimizer.layer_lr"
# Keras' own steps with the rate, each for a list of variables; both are private.
DECAY, UPDATE = "_apply_weight_decay", "_backend_update_step"


def set_layer_rates(
    optimizer: keras.optimizers.Optimizer, model: keras.Model, factors: Mapping[str, float] | None
) -> dict[str, float]:
    """Let the layers of `model` learn at a factor of the optimizer's rate; layer -> factor.

    factors: by regular expressions of whole names of layers, of which the first counts. Weight
    decay, which goes with the rate, follows. Raises ConfigError for an expression that no layer
    with weights to train has for itself, and RunError for a Keras whose steps cannot be divided.
    """
    if not factors:
        return {}
    trained = [layer for layer in model.layers if layer.trainable_variables]
    rates: dict[str, float] = {}
    for pattern, factor in factors.items():
        found = [layer.name for layer in trained if re.fullmatch(pattern, layer.name)]
        new = [name for name in found if name not in rates]
        if not new:
            why = "comes behind others that match the same layers" if found else "matches no layer"
            names = listed([layer.name for layer in trained])
            raise ConfigError(f"{KEY}: {pattern} {why}; there are {names}")
        rates |= {name: float(factor) for name in new}
    of_variable = {
        id(variable): rates[layer.name]
        for layer in trained
        if layer.name in rates
        for variable in layer.trainable_variables
    }
    _divide(optimizer, of_variable)
    return rates


def _divide(optimizer: keras.optimizers.Optimizer, factors: Mapping[int, float]) -> None:
    """Have the optimizer take its steps once for the variables of each factor."""
    decay, update = (getattr(optimizer, name, None) for name in (DECAY, UPDATE))
    if not callable(decay) or not callable(update):
        raise RunError(
            f"Keras {keras.__version__}: its optimizers have no {DECAY} or no {UPDATE}, which "
            f"{KEY} needs; install the Keras of requirements.lock, or leave {KEY} out"
        )

    def groups(variables: Sequence[Any]) -> dict[float, list[int]]:
        found: dict[float, list[int]] = {}
        for index, variable in enumerate(variables):
            found.setdefault(factors.get(id(variable), 1.0), []).append(index)
        return found

    def decay_each(variables: Sequence[Any]) -> None:
        whole = optimizer.weight_decay
        for factor, members in groups(variables).items():
            optimizer.weight_decay = whole and whole * factor
            decay([variables[index] for index in members])
        optimizer.weight_decay = whole

    def update_each(grads: Sequence[Any], variables: Sequence[Any], rate: Any) -> None:
        for factor, members in groups(variables).items():
            own = [grads[index] for index in members], [variables[index] for index in members]
            update(*own, rate if factor == 1 else rate * factor)

    setattr(optimizer, DECAY, decay_each)
    setattr(optimizer, UPDATE, update_each)
