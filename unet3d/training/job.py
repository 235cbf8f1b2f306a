"""One training from its settings to its record: set up, run the loop, keep the results."""

from __future__ import annotations

import logging
import socket
from pathlib import Path
from typing import TYPE_CHECKING

from unet3d.config import Config
from unet3d.log import log_to_console, log_to_file
from unet3d.parallel.place import ALONE, Place
from unet3d.tracking.run import NoTracker, Tracker, run_folder, start_run
from unet3d.tracking.store import connect
from unet3d.training.errors import GivenUp, RunError, RunStopped
from unet3d.training.resume import keep_patch, resumed_config
from unet3d.training.setup import Setup, make_setup
from unet3d.training.stop import StopRequest, stop_requests

if TYPE_CHECKING:
    from unet3d.training.loop import Training

log = logging.getLogger(__name__)


def run_training(config: Config, overrides: list[str], place: Place = ALONE) -> float | None:
    """Train as configured, or go on with `config.resume`; returns the best val/dice.

    place: of this process among the workers that train together; the chief records the run.

    Raises ConfigError, DataError or RunError before a run is recorded where that can be known, and
    RunStopped after a signal. The run ends as FINISHED, FAILED or KILLED in the tracking store.
    """
    log_to_console()
    if config.resume:  # a job's settings are resolved before it starts, but for an automatic patch
        config = keep_patch(config) if place.job else resumed_config(config, overrides)
    with stop_requests(place) as stop:
        connection = connect(config) if place.chief else None
        setup = make_setup(config, place)
        config = setup.config  # as it is recorded: with the patch that auto has chosen
        if not place.chief:
            folder = run_folder(config, place.announced())
            return _train(setup, NoTracker(), folder, stop)
        tracker, folder = start_run(config, connection)
        with log_to_file(folder / "train.log"):
            place.announce(folder.name)
            return _recorded(setup, tracker, folder, stop)


def _recorded(setup: Setup, tracker: Tracker, folder: Path, stop: StopRequest) -> float | None:
    """Train, and close the run in the tracking store with how it ended."""
    try:
        best = _train(setup, tracker, folder, stop)
    except (RunStopped, KeyboardInterrupt) as error:
        tracker.finish("KILLED", str(error))
        raise
    except BaseException as error:
        # In a job another worker's end shows here as any error; the job starts all anew, or fails.
        if setup.place.job is None or isinstance(error, RunError):
            log.error("failed: %s", error)
            tracker.finish("FAILED", str(error))
        raise
    tracker.finish("FINISHED")
    return best


def _train(setup: Setup, tracker: Tracker, folder: Path, stop: StopRequest) -> float | None:
    from unet3d.inference.trained import describe_data
    from unet3d.training.checkpoint import Progress, last_checkpoint, load_checkpoint
    from unet3d.training.loop import Training, fit

    _describe(setup, tracker)
    if setup.place.chief:
        tracker.log_artifact(describe_data(setup.store, folder), "config")
    training = Training(**vars(setup), tracker=tracker, folder=folder, stop=stop)
    progress = Progress()
    # A job or a trial may have been lost before the first checkpoint; a user would want to know.
    lost_before_first = setup.place.job and not last_checkpoint(folder).exists()
    if setup.config.resume and not lost_before_first:
        progress = load_checkpoint(last_checkpoint(folder), setup.state.variables())
        for record in progress.history:  # what a kill kept from the tracking store
            tracker.log_epoch(record)
        log.info("going on after step %d", progress.step)
    try:
        progress = fit(training, progress)
    except GivenUp as given_up:  # what it has reached is kept as of a run that ended
        log.info("%s", given_up)
        tracker.set_tags({"sweep.given_up": "true"})
    if setup.place.chief:
        _keep_results(training, progress.history)
    if progress.best is not None:
        log.info(
            "best val/dice %.4f in epoch %d; weights, log and pictures are in %s",
            progress.best,
            progress.best_epoch,
            folder,
        )
    return progress.best


def _describe(setup: Setup, tracker: Tracker) -> None:
    """Say what is going to run, in the log and in the tags."""
    from unet3d.training.patch import patches_at_once, step_cost

    config, split = setup.config, setup.split
    batch = patches_at_once(config, setup.strategy.num_replicas_in_sync)
    log.info(
        "%s: %d train, %d val, %d test cases; outputs %s",
        config.data.name,
        *(len(cases) for cases in (split.train, split.val, split.test)),
        ", ".join(setup.targets.names),
    )
    if config.data.stage_to is not None:
        log.info("data: each node reads from its copy in %s", setup.store.path)
    if setup.plan:
        log.info("data.patch=auto: %s", setup.plan)
    cost = step_cost(config, setup.state.model, setup.stream.patch_shape, batch)
    log.info(
        "%s on %s: %s parameters, %.1f GFLOP forward for a patch of %s, about %.2f GB to train "
        "on %d at once",
        config.model.name,
        setup.device,
        f"{cost.parameters:,}",
        cost.flops / 1e9,
        "x".join(str(size) for size in setup.stream.patch_shape),
        cost.training_bytes / 1e9,
        batch,
    )
    place, replicas = setup.place, setup.strategy.num_replicas_in_sync
    if replicas > 1:
        log.info(
            "%d replicas on %d workers, %d patches each of the global batch of %d",
            replicas,
            place.workers,
            config.batch_size // replicas,
            config.batch_size,
        )
    tracker.log_artifact(setup.split_file, "data")
    tracker.set_tags(
        {
            "device": setup.device,
            "data.digest": setup.store.digest,
            "data.store": setup.store.key,
            "model.parameters": str(cost.parameters),
            "parallel.world_size": str(replicas),
            "parallel.workers": str(place.workers),
            "parallel.placement": ", ".join(place.hosts) or socket.gethostname(),
            "parallel.restarts": str(place.restarts),
        }
    )


def _keep_results(training: Training, history: list[dict]) -> None:
    """The best weights, the pictures and the log, in the run's folder and its artifacts."""
    from unet3d.training.checkpoint import best_weights
    from unet3d.visualize import learning_curves, validation_overlays

    best, tracker, folder = best_weights(training.folder), training.tracker, training.folder
    if best.exists():
        training.state.model.load_weights(best)
        tracker.log_artifact(best, "model")
        tracker.log_artifact(validation_overlays(training), "")
    tracker.log_artifact(learning_curves(history, folder), "")
    tracker.log_artifact(folder / "train.log", "log")
