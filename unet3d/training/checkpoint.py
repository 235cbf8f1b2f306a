"""Checkpoints: one .npz file per state, replaced as a whole or not at all, and the one before."""

from __future__ import annotations

import contextlib
import json
import logging
import os
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from unet3d.checksum_trailer import append_checksum, checksum_problem
from unet3d.errors import RunError
from unet3d.files import remove_stale, replacing
from unet3d.run_folder import RunFolder

log = logging.getLogger(__name__)


@dataclass
class TrainingProgress:
    """How far a training has come; the next step to run is `step`, counted over all epochs."""

    step: int = 0
    epoch_loss: float = 0.0  # sum over the steps of an unfinished epoch
    epoch_counts: list[list[float]] | None = None  # its Dice counts (3, outputs)
    epoch_skipped: int = 0  # its steps that the loss scale skipped, which are in neither
    best: float | None = None  # val/dice
    best_epoch: int = 0
    since_best: int = 0  # validations
    history: list[dict[str, Any]] = field(default_factory=list)  # {epoch, time, metrics}


class _DamagedError(Exception):
    """A checkpoint that is not as it was written; the one before it may be."""


def save_checkpoint(
    folder: RunFolder, variables: dict[str, Any], progress: TrainingProgress
) -> None:
    """Write variables and progress; a kill leaves the old file or the new one.

    The old one is kept as the checkpoint before. Raises OSError.
    """
    arrays = {name: np.asarray(variable) for name, variable in variables.items()}
    text = json.dumps(asdict(progress))
    with replacing(folder.last_checkpoint) as new:
        np.savez(new, progress=np.frombuffer(text.encode(), dtype=np.uint8), **arrays)
        append_checksum(new)
        _keep(folder.last_checkpoint, folder.previous_checkpoint)


def _keep(last: Path, previous: Path) -> None:
    """Let `previous` be the file `last`, which stays until it is replaced."""
    if not last.exists():
        return
    try:
        with replacing(previous) as link:
            os.link(last, link)
    except OSError:  # a file system without hard links: then a kill may leave `previous` alone
        os.replace(last, previous)


def load_checkpoint(folder: RunFolder, variables: dict[str, Any]) -> TrainingProgress:
    """Fill `variables` from the last checkpoint of a run and return the progress.

    Where that is damaged, from the one before it, with a warning. Raises RunError where neither
    can be used, and for one of another network or optimizer.
    """
    path, progress, stored = _newest(folder)
    if not stored:
        raise RunError(
            f"{path}: the state to resume from was removed by unet3d clean; begin another run with "
            f"the weights of this one: init={folder.run_id}"
        )
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


def read_progress(folder: RunFolder) -> TrainingProgress:
    """The progress in the last checkpoint of a run. Raises RunError as `load_checkpoint` does."""
    return _newest(folder)[1]


def read_arrays(folder: RunFolder) -> dict[str, np.ndarray]:
    """The variables in the last checkpoint of a run, {} where `unet3d clean` has removed them.

    Raises RunError as `load_checkpoint` does.
    """
    return _newest(folder)[2]


def has_checkpoint(folder: RunFolder) -> bool:
    """Whether a run has come to its first checkpoint."""
    return folder.last_checkpoint.exists() or folder.previous_checkpoint.exists()


def remove_state(folder: RunFolder) -> None:
    """Keep of a run's checkpoints the progress alone, which tables and records are made from.

    The run can then not be resumed; its best weights stay. Raises RunError as `read_progress`
    does, OSError.
    """
    text = json.dumps(asdict(read_progress(folder)))
    with replacing(folder.last_checkpoint) as new:
        np.savez(new, progress=np.frombuffer(text.encode(), dtype=np.uint8))
        append_checksum(new)
    folder.previous_checkpoint.unlink(missing_ok=True)


def has_state(folder: RunFolder) -> bool:
    """Whether a run's checkpoint holds more than its progress; False where there is none."""
    try:
        with np.load(folder.last_checkpoint, allow_pickle=False) as file:
            return len(file.files) > 1
    except Exception:  # of zip, NumPy: damaged, so that `unet3d clean` leaves it alone
        return False


def remove_leftovers(folder: RunFolder) -> None:
    """Remove what killed processes have left beside a run's checkpoints."""
    remove_stale(folder.checkpoints)
    for path in folder.half_written:
        with contextlib.suppress(OSError):
            path.unlink()


def _newest(folder: RunFolder) -> tuple[Path, TrainingProgress, dict[str, np.ndarray]]:
    """The newest checkpoint that is as it was written: its file, progress and other arrays."""
    last, previous = folder.last_checkpoint, folder.previous_checkpoint
    if not has_checkpoint(folder):
        raise RunError(
            f"{last}: there is no checkpoint; the run stopped before its first one, start another"
        )
    try:
        return last, *_read(last)
    except _DamagedError as error:
        damage = error
    try:
        found = previous, *_read(previous)
    except _DamagedError as error:
        before = f"nor can the one before it, {previous.name} ({error})"
        if not previous.exists():
            before = "there is none before it"
        raise RunError(
            f"{last}: the checkpoint cannot be used ({damage}), {before}; "
            "copy the file again from a backup, or start another run"
        ) from damage
    log.warning(
        "%s: the checkpoint cannot be used (%s); going on from the one before it, %s",
        last,
        damage,
        previous.name,
    )
    return found


def _read(path: Path) -> tuple[TrainingProgress, dict[str, np.ndarray]]:
    """The progress and the other arrays of a checkpoint. Raises _DamagedError."""
    try:
        damage = checksum_problem(path)
        if damage is not None:
            raise _DamagedError(damage)
        with np.load(path, allow_pickle=False) as file:
            arrays = {name: file[name] for name in file.files}
        text = arrays.pop("progress").tobytes().decode()
        progress = TrainingProgress(**json.loads(text))
    except OSError as error:
        raise _DamagedError(error.strerror or str(error)) from error
    except _DamagedError:
        raise
    except KeyError as error:
        raise _DamagedError("it holds no progress") from error
    except Exception as error:  # of zip, zlib, NumPy or JSON, by what is wrong in the file
        raise _DamagedError(str(error).split("\n")[0]) from error
    for name, array in arrays.items():
        if array.dtype.kind == "f" and not np.isfinite(array).all():
            raise _DamagedError(f"{name} holds values that are not numbers")
    return progress, arrays
