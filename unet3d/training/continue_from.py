"""A run that begins where another one has ended, with other settings: `continue_from`."""

from __future__ import annotations

import logging
from dataclasses import replace
from typing import Any

from unet3d.config.schema import Config
from unet3d.errors import ConfigError
from unet3d.run_folder import run_folder
from unet3d.training.checkpoint import TrainingProgress, has_checkpoint, load_checkpoint

log = logging.getLogger(__name__)
NOT_ITS_OWN = "perf/energy_kwh"  # which is counted on from the last epoch


def check_continued(config: Config) -> None:
    """ConfigError where the run to continue from has no checkpoint, before any long work.

    A run that goes on from a checkpoint of its own needs the other one no more.
    """
    if config.continue_from is None:
        return
    if config.resume and has_checkpoint(run_folder(config.output_dir, config.resume)):
        return
    folder = run_folder(config.output_dir, config.continue_from)
    if not has_checkpoint(folder):
        raise ConfigError(
            f"continue_from: {config.continue_from} is not a run with a checkpoint in "
            f"{folder.path.parent}; `unet3d runs` lists them"
        )


def continued_progress(
    config: Config, variables: dict[str, Any], steps_per_epoch: int
) -> TrainingProgress:
    """Fill `variables` with the other run's state and return its progress.

    The epochs of the other run stay in the history; its best value does not, as the weights of
    that epoch are the other run's. Raises ConfigError where the state cannot be continued with
    these settings, RunError where it is of another network or optimizer.
    """
    folder = run_folder(config.output_dir, config.continue_from or "")
    progress = load_checkpoint(folder, variables)
    done = len(progress.history)
    if progress.step != done * steps_per_epoch:
        raise ConfigError(
            f"continue_from: {config.continue_from} stands at step {progress.step}, which is no "
            f"end of an epoch of {steps_per_epoch} steps; let it end, or type its steps_per_epoch"
        )
    if done >= config.last_epoch:
        raise ConfigError(
            f"continue_from: {config.continue_from} has trained {done} epochs already; type "
            f"epochs and stop_after above that (now {config.last_epoch})"
        )
    history = [{**one, "metrics": dict(one["metrics"])} for one in progress.history]
    for one in history:
        one["metrics"].pop(NOT_ITS_OWN, None)
    log.info("continues from run %s after epoch %d", config.continue_from, done)
    return replace(progress, best=None, best_epoch=0, since_best=0, history=history)
