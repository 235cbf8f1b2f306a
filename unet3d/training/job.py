"""One training from its settings to its record: set up, run the loop, keep the results."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import TYPE_CHECKING

from unet3d.config import Config
from unet3d.log import log_to_console, log_to_file
from unet3d.tracking import Tracker, connect, start_run
from unet3d.training.errors import RunStopped
from unet3d.training.resume import resumed_config
from unet3d.training.setup import Setup, make_setup
from unet3d.training.stop import StopRequest, stop_requests

if TYPE_CHECKING:
    from unet3d.training.loop import Training

log = logging.getLogger(__name__)


def run_training(config: Config, overrides: list[str]) -> float | None:
    """Train as configured, or go on with `config.resume`; returns the best val/dice.

    Raises ConfigError, DataError or RunError before a run is recorded where that can be known, and
    RunStopped after a signal. The run ends as FINISHED, FAILED or KILLED in the tracking store.
    """
    log_to_console()
    if config.resume:
        config = resumed_config(config, overrides)
    with stop_requests() as stop:
        connection = connect(config)
        setup = make_setup(config)
        tracker, folder = start_run(config, connection)
        handler = log_to_file(folder / "train.log")
        try:
            best = _train(setup, tracker, folder, stop)
        except (RunStopped, KeyboardInterrupt) as error:
            tracker.finish("KILLED", str(error))
            raise
        except BaseException as error:
            log.error("failed: %s", error)
            tracker.finish("FAILED", str(error))
            raise
        finally:
            logging.getLogger("unet3d").removeHandler(handler)
            handler.close()
        tracker.finish("FINISHED")
    return best


def _train(setup: Setup, tracker: Tracker, folder: Path, stop: StopRequest) -> float | None:
    from unet3d.training.checkpoint import Progress, load_checkpoint
    from unet3d.training.loop import Training, fit, last_checkpoint

    _describe(setup, tracker, folder)
    training = Training(**vars(setup), tracker=tracker, folder=folder, stop=stop)
    progress = Progress()
    if setup.config.resume:
        progress = load_checkpoint(last_checkpoint(folder), setup.state.variables())
        for record in progress.history:  # what a kill kept from the tracking store
            tracker.log_epoch(record)
        log.info("going on after step %d", progress.step)
    progress = fit(training, progress)
    _keep_results(training, progress.history)
    if progress.best is not None:
        log.info(
            "best val/dice %.4f in epoch %d; weights, log and pictures are in %s",
            progress.best,
            progress.best_epoch,
            folder,
        )
    return progress.best


def _describe(setup: Setup, tracker: Tracker, folder: Path) -> None:
    """Say what is going to run, in the log and in the tags."""
    from unet3d.models.profile import profile

    config, split = setup.config, setup.split
    log.info(
        "%s: %d train, %d val, %d test cases; outputs %s",
        config.data.name,
        *(len(cases) for cases in (split.train, split.val, split.test)),
        ", ".join(setup.targets.names),
    )
    cost = profile(setup.state.model, setup.stream.patch_shape, config.batch_size, config.precision)
    log.info(
        "%s on %s: %s parameters, %.1f GFLOP forward for a patch of %s, about %.2f GB to train",
        config.model.name,
        setup.device,
        f"{cost.parameters:,}",
        cost.flops / 1e9,
        "x".join(str(size) for size in setup.stream.patch_shape),
        cost.training_bytes / 1e9,
    )
    tracker.log_artifact(setup.split_file, "data")
    tracker.set_tags(
        {
            "device": setup.device,
            "data.fingerprint": setup.store.fingerprint,
            "data.store": setup.store.key,
            "model.parameters": str(cost.parameters),
        }
    )


def _keep_results(training: Training, history: list[dict]) -> None:
    """The best weights, the pictures and the log, in the run's folder and its artifacts."""
    from unet3d.training.loop import best_weights
    from unet3d.visualize import learning_curves, validation_overlays

    best, tracker, folder = best_weights(training.folder), training.tracker, training.folder
    if best.exists():
        training.state.model.load_weights(best)
        tracker.log_artifact(best, "model")
        tracker.log_artifact(validation_overlays(training), "figures")
    tracker.log_artifact(learning_curves(history, folder), "figures")
    tracker.log_artifact(folder / "train.log", "log")
