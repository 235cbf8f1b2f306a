"""Checkpoints: one .npz file a state, replaced as a whole or not at all."""

from __future__ import annotations

import json
import os
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from unet3d.training.errors import RunError


@dataclass
class Progress:
    """Where a training stands; the next step to run is `step`, counted over all epochs."""

    step: int = 0
    epoch_loss: float = 0.0  # sum over the steps of an unfinished epoch
    epoch_counts: list[list[float]] | None = None  # its Dice counts (3, outputs)
    best: float | None = None  # val/dice
    best_epoch: int = 0
    since_best: int = 0  # validations
    history: list[dict[str, Any]] = field(default_factory=list)  # {epoch, time, metrics}


def save_checkpoint(path: Path, variables: dict[str, Any], progress: Progress) -> None:
    """Write variables and progress to `path`; a kill leaves the old file or the new one."""
    arrays = {name: np.asarray(variable) for name, variable in variables.items()}
    text = json.dumps(asdict(progress))
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    with temporary.open("wb") as file:
        np.savez(file, progress=np.frombuffer(text.encode(), dtype=np.uint8), **arrays)
        file.flush()
        os.fsync(file.fileno())
    temporary.replace(path)


def load_checkpoint(path: Path, variables: dict[str, Any]) -> Progress:
    """Fill `variables` from `path` and return the progress.

    Raises RunError where the file is missing, damaged, or of another network or optimizer.
    """
    stored = _arrays(path)
    progress = _progress(stored.pop("progress"))
    if stored.keys() != variables.keys():
        raise RunError(f"{path}: the checkpoint is of another network or optimizer")
    for name, variable in variables.items():
        if tuple(variable.shape) != stored[name].shape:
            raise RunError(
                f"{path}: {name} has shape {stored[name].shape}, the network's {variable.shape}"
            )
    for name, variable in variables.items():
        variable.assign(stored[name])
    return progress


def read_progress(path: Path) -> Progress:
    """The progress in a checkpoint. Raises RunError as `load_checkpoint` does."""
    return _progress(_arrays(path, "progress")["progress"])


def last_checkpoint(folder: Path) -> Path:
    """The state to resume from, in a run's folder."""
    return folder / "checkpoints" / "last.npz"


def best_weights(folder: Path) -> Path:
    """The best network's weights in a run's folder, for keras.Model.load_weights."""
    return folder / "checkpoints" / "best.weights.h5"


def _arrays(path: Path, *names: str) -> dict[str, np.ndarray]:
    """The arrays of a checkpoint, or those of `names`."""
    try:
        with np.load(path, allow_pickle=False) as file:
            return {name: file[name] for name in names or file.files}
    except FileNotFoundError:
        raise RunError(
            f"{path}: there is no checkpoint; the run stopped before its first one, start it anew"
        ) from None
    except Exception as error:
        raise RunError(f"{path}: the checkpoint cannot be read ({error})") from error


def _progress(text: np.ndarray) -> Progress:
    return Progress(**json.loads(text.tobytes().decode()))
