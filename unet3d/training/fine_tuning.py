"""A training that begins with weights of another one: `init`; and layers that keep them: `freeze`.

Layers are matched by name, as a network of ours has the same names at any number of input
sequences and outputs.
"""

from __future__ import annotations

import logging
import re
from dataclasses import dataclass
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

log = logging.getLogger(__name__)
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
class Initial:
    """Names of layers: those that got weights, and those that begin anew, with the reason."""

    taken: list[str]
    anew: dict[str, str]


def take_weights(model: keras.Model, path: Path) -> Initial:
    """Give each layer of `model` the weights that a layer of its name has in the file, if they fit.

    Says in the log which layers begin anew. Raises ConfigError for a file that cannot be read, and
    where no layer fits.
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
            f"init: {path}: no layer fits; the file has {_names(list(stored))}, and the network "
            f"{_names(list(anew))}; choose the model= and model.filters of that run"
        )
    log.info("init: %d of %d layers from %s", len(taken), len(taken) + len(anew), path)
    for name, reason in anew.items():
        log.info("init: layer %s begins anew: %s", name, reason)
    return Initial(taken, anew)


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


def freeze(model: keras.Model, pattern: str | None) -> list[str]:
    """Keep the layers whose whole name matches the regular expression as they are; their names.

    Their weights are not trained, and batch norms among them use the statistics that they have.
    Raises ConfigError where none matches, or nothing is left to train.
    """
    if pattern is None:
        return []
    weighted = [layer for layer in model.layers if layer.weights]
    frozen = [layer for layer in weighted if re.fullmatch(pattern, layer.name)]
    names = _names([layer.name for layer in weighted])
    if not frozen:
        raise ConfigError(f"model.freeze: {pattern} matches no layer; there are {names}")
    for layer in frozen:
        layer.trainable = False
    if not model.trainable_variables:
        raise ConfigError(f"model.freeze: {pattern} leaves nothing to train, of {names}")
    kept = sum(layer.count_params() for layer in frozen)
    log.info(
        "model.freeze: %d of %d layers, with %s of %s parameters, are not trained",
        len(frozen),
        len(weighted),
        f"{kept:,}",
        f"{model.count_params():,}",
    )
    return [layer.name for layer in frozen]


def _names(names: list[str]) -> str:
    """Names in a line, the first and last of many."""
    if len(names) <= SHOWN:
        return ", ".join(names)
    return f"{', '.join(names[: SHOWN // 2])}, ... {', '.join(names[-SHOWN // 2 :])}"
