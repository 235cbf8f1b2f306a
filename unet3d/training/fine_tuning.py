"""A training that begins with weights of another one: `init`; and layers that keep them: `freeze`.

Layers are matched by name, as a network of ours has the same names at any number of input
sequences and outputs.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from unet3d.checksum_trailer import checksum_problem
from unet3d.config.schema import Config
from unet3d.errors import ConfigError, RunError
from unet3d.inference.network import run_files
from unet3d.run_folder import run_folder
from unet3d.training.checkpoint import has_checkpoint

if TYPE_CHECKING:
    import keras

SHOWN = 8  # names in one line


def init_file(config: Config) -> Path | None:
    """The weights to begin with; None without `init`, and where a run goes on from a checkpoint.

    Raises ConfigError for a run or file that does not exist.
    """
    if config.init is None:
        return None
    if config.resume and has_checkpoint(run_folder(config.output_dir, config.resume)):
        return None
    path = Path(config.init)
    if path.suffix == ".h5" or path.is_file():
        if not path.is_file():
            raise ConfigError(f"init: {path} does not exist; name a run, or a file of weights")
        return path
    try:
        return run_files(config.init, config.output_dir).best_weights
    except RunError as error:
        raise ConfigError(f"init: {error}") from error


@dataclass(frozen=True)
class FineTuning:
    """What a network has begun with, and what of it stays so.

    taken, anew: names of layers that got weights of `source`, and of those that did not, with the
    reason; frozen: of layers that are not trained; rates: factors of the learning rate by layer.
    """

    source: str = ""
    taken: tuple[str, ...] = ()
    anew: dict[str, str] = field(default_factory=dict)
    frozen: tuple[str, ...] = ()
    rates: dict[str, float] = field(default_factory=dict)

    def lines(self) -> Iterator[str]:
        """For the log."""
        if self.taken:
            layers = len(self.taken) + len(self.anew)
            yield f"init: {len(self.taken)} of {layers} layers from {self.source}"
        for name, reason in self.anew.items():
            yield f"init: layer {name} begins anew: {reason}"
        if self.frozen:
            yield f"model.freeze: {len(self.frozen)} layers are not trained: {listed(self.frozen)}"

        for factor in dict.fromkeys(self.rates.values()):
            layers_of = [name for name, own in self.rates.items() if own == factor]
            yield (
                f"optimizer.layer_lr: {len(layers_of)} layers learn at {factor:g} of the rate: "
                f"{listed(layers_of)}"
            )

    def tags(self) -> dict[str, str]:
        """For the run's record."""
        lists: dict[str, Iterable[str]] = {
            "init.taken": self.taken,
            "init.anew": self.anew,
            "model.frozen": self.frozen,
        }
        rates = [f"{name} {factor:g}" for name, factor in self.rates.items()]
        lists["optimizer.layer_lr"] = rates
        return {name: ", ".join(layers) for name, layers in lists.items() if layers}


def begin_with(model: keras.Model, source: Path | None, pattern: str | None) -> FineTuning:
    """Fill `model` from the weights of `source`, then freeze the layers of `pattern`.

    Either may be None. Raises ConfigError as `take_weights` and `freeze` do.
    """
    taken, anew = take_weights(model, source) if source else ((), {})
    return FineTuning(str(source or ""), taken, anew, freeze(model, pattern))


def take_weights(model: keras.Model, path: Path) -> tuple[tuple[str, ...], dict[str, str]]:
    """Give each layer of `model` the weights that a layer of its name has in the file, if they fit.

    Returns the layers that got some, and those that begin anew with the reason. Raises ConfigError
    for a file that cannot be read, and where no layer fits.
    """
    stored = weights_by_layer(path)
    taken: list[str] = []
    anew: dict[str, str] = {}
    for layer in model.layers:
        if not layer.weights:
            continue
        found, wanted = stored.get(layer.name), [tuple(w.shape) for w in layer.weights]
        if found is None:
            anew[layer.name] = "not in the file"
        elif [value.shape for value in found] != wanted:
            anew[layer.name] = f"{found[0].shape} in the file, {wanted[0]} here"
        else:
            layer.set_weights(found)
            taken.append(layer.name)
    if not taken:
        raise ConfigError(
            f"init: {path}: no layer fits; the file has {listed(list(stored))}, and the network "
            f"{listed(list(anew))}; choose the model= and model.filters of that run"
        )
    return tuple(taken), anew


def weights_by_layer(path: Path) -> dict[str, list[np.ndarray]]:
    """The arrays of each layer in a .weights.h5 file, by the layer's name.

    Raises ConfigError for a file that is damaged, holds values that are not numbers, or does not
    name its layers.
    """
    import h5py

    found: dict[str, list[np.ndarray]] = {}

    def visit(_: str, node: object) -> None:
        if isinstance(node, h5py.Group) and "name" in node.attrs and len(node):
            arrays = [np.asarray(node[str(index)]) for index in range(len(node))]
            found[str(node.attrs["name"])] = arrays

    try:
        damage = checksum_problem(path)
        with h5py.File(path, "r") as file:
            file.visititems(visit)
    except Exception as error:  # of HDF5, by what is wrong in the file
        reason = str(error).strip().split("\n")[0]
        raise ConfigError(f"init: {path} cannot be read ({reason}); name another") from error
    if damage is not None:
        raise ConfigError(f"init: {path} is damaged ({damage}); name another, or copy it again")
    if not found:
        raise ConfigError(f"init: {path} names no layers; it must be a .weights.h5 of Keras 3")
    if not all(np.isfinite(value).all() for values in found.values() for value in values):
        raise ConfigError(
            f"init: {path} holds values that are not numbers, as its training diverged; name "
            "another"
        )
    return found


def freeze(model: keras.Model, pattern: str | None) -> tuple[str, ...]:
    """Keep the layers whose whole name matches the regular expression as they are; their names.

    Their weights are not trained, and batch norms among them use the statistics that they have.
    Raises ConfigError where none matches, or nothing is left to train.
    """
    if pattern is None:
        return ()
    weighted = [layer for layer in model.layers if layer.weights]
    frozen = [layer for layer in weighted if re.fullmatch(pattern, layer.name)]
    names = listed([layer.name for layer in weighted])
    if not frozen:
        raise ConfigError(f"model.freeze: {pattern} matches no layer; there are {names}")
    for layer in frozen:
        layer.trainable = False
    if not model.trainable_variables:
        raise ConfigError(f"model.freeze: {pattern} leaves nothing to train, of {names}")
    return tuple(layer.name for layer in frozen)


def listed(names: Sequence[str]) -> str:
    """Names in a line, the first and last of many."""
    if len(names) <= SHOWN:
        return ", ".join(names)
    return f"{', '.join(names[: SHOWN // 2])}, ... {', '.join(names[-SHOWN // 2 :])}"
