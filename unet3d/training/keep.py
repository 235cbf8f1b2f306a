"""What a training keeps on disk: states that are numbers, or one line that says why not."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NoReturn

import tensorflow as tf

from unet3d.config.command_line import resume_command
from unet3d.config.schema import Config
from unet3d.errors import RunError, StorageError
from unet3d.inference.weights import save_weights
from unet3d.run_folder import RunFolder
from unet3d.training.checkpoint import TrainingProgress, has_checkpoint, save_checkpoint
from unet3d.training.state import TrainState

KEPT = ("the checkpoint", "the best weights")


def make_finite_check(state: TrainState) -> Callable[[], bool]:
    """A call that says whether all weights, and all of the optimizer's figures, are numbers."""
    variables = [v for v in state.variables().values() if tf.as_dtype(v.dtype).is_floating]

    @tf.function(autograph=False)
    def finite() -> Any:
        each = [tf.reduce_all(tf.math.is_finite(tf.convert_to_tensor(v))) for v in variables]
        return tf.reduce_all(each)

    return lambda: bool(finite())


def keep_state(folder: RunFolder, state: TrainState, progress: TrainingProgress) -> None:
    """Save the checkpoint to resume from. Raises StorageError where it cannot be written."""
    with storage_errors(folder, KEPT[0]):
        save_checkpoint(folder, state.variables(), progress)


def keep_best_weights(folder: RunFolder, model: Any) -> None:
    """Save the best weights so far. Raises StorageError where they cannot be written."""
    with storage_errors(folder, KEPT[1]):
        save_weights(model, folder.best_weights)


@contextmanager
def storage_errors(folder: RunFolder, what: str) -> Iterator[None]:
    """Turn an error of writing to the run's folder into one line with what to do."""
    try:
        yield
    except OSError as error:
        where = folder.checkpoints if what in KEPT else folder.path
        reason = error.strerror or str(error).split("\n")[0]
        again = (
            f"go on with: {resume_command(folder.run_id, str(folder.path.parents[1]))}"
            if has_checkpoint(folder)
            else "start the run again, as it has no checkpoint yet"
        )
        raise StorageError(
            f"{where}: {what} cannot be written ({reason}; {_free(where)}); "
            f"make room there, or let it be written to, then {again}"
        ) from error


def _free(path: Path) -> str:
    try:
        return f"{shutil.disk_usage(path).free / 1e6:,.1f} MB free"
    except OSError as error:
        return f"the folder: {error.strerror}"


def fail_on_loss(
    config: Config, folder: RunFolder, step: int, loss: float, cases: list[str]
) -> NoReturn:
    """End a run whose loss is not a number. step: counted from 1; cases: of its batch."""
    raise RunError(
        f"the loss became {loss} at step {step}, on cases {', '.join(cases)}; {_lower(config)}; "
        f"{_last_good(folder, 'the state before this epoch is')}"
    )


def fail_on_state(config: Config, folder: RunFolder, what: str, epoch: int) -> NoReturn:
    """End a run whose weights or validation are not numbers, so that nothing of them is kept."""
    raise RunError(
        f"{what} in epoch {epoch}, and nothing of it was kept; {_lower(config)}; "
        f"{_last_good(folder, 'the last good state is')}"
    )


def _lower(config: Config) -> str:
    return (
        f"try a smaller lr (now {config.lr:g}), optimizer.clip_norm=1, or precision=float32 "
        f"(now {config.precision})"
    )


def _last_good(folder: RunFolder, words: str) -> str:
    if not has_checkpoint(folder):
        return "there is no checkpoint before it"
    return f"{words} in {folder.last_checkpoint}"
