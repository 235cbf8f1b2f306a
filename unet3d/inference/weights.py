"""The weights of a network in a file, with a checksum that is looked at when they are loaded."""

from __future__ import annotations

import io
import warnings
from pathlib import Path
from typing import Any

import numpy as np

from unet3d.checksum_trailer import append_checksum, checksum_problem
from unet3d.config.command_line import program
from unet3d.errors import RunError
from unet3d.files import replacing

ADVICE = (
    "copy the file again from a backup or from the run's artifacts in MLflow (model/), or delete "
    f"it and train on with: {' '.join(program('train'))} resume=<id> epochs=<more>"
)


def save_weights(model: Any, path: Path) -> None:
    """Write the weights of a Keras model; `path` holds the old or the new ones, never a part."""
    content = _InMemory()
    model.save_weights(content)
    with replacing(path) as new:
        new.write_bytes(content.getbuffer())
        append_checksum(new)


class _InMemory(io.BytesIO):
    """A file for Keras, which asks for the suffix: HDF5 ends the process where a disk is full."""

    def __str__(self) -> str:
        return "in memory.weights.h5"


def load_weights(model: Any, path: Path) -> None:
    """Read the weights of a Keras model.

    Raises RunError for a file that is missing, damaged or of another network, and for values that
    are not numbers, which a training that diverged has left.
    """
    try:
        damage = checksum_problem(path)
        if damage is None:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")  # a warning for each layer that does not fit
                model.load_weights(path)
    except OSError as error:
        raise RunError(
            f"{path}: cannot be read ({_line(error.strerror or error)}); {ADVICE}"
        ) from error
    except Exception as error:  # of HDF5 or Keras, by what is wrong in the file
        raise RunError(f"{path}: cannot be read ({_line(error)}); {ADVICE}") from error
    if damage is not None:
        raise RunError(f"{path}: damaged ({damage}); {ADVICE}")
    if not all(np.isfinite(value).all() for value in model.get_weights()):
        raise RunError(
            f"{path}: holds values that are not numbers, as the training diverged; use another run"
        )


def _line(error: object) -> str:
    return str(error).strip().split("\n")[0]
