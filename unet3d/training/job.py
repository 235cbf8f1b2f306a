"""One training from its settings: data, network and loop put together, and the run recorded."""

from __future__ import annotations

import logging
from pathlib import Path

from unet3d.config import Config
from unet3d.log import log_to_console, log_to_file
from unet3d.quiet import quiet_start
from unet3d.tracking import Tracker, start_run
from unet3d.training.errors import RunStopped
from unet3d.training.resume import resumed_config
from unet3d.training.stop import StopRequest, stop_requests

log = logging.getLogger(__name__)


def run_training(config: Config, overrides: list[str]) -> float | None:
    """Train as configured, or go on with `config.resume`; returns the best val/dice.

    Raises ConfigError, DataError or RunError before any long work where that can be known, and
    RunStopped after a signal. The run ends as FINISHED, FAILED or KILLED in the tracking store.
    """
    log_to_console()
    if config.resume:
        config = resumed_config(config, overrides)
    with stop_requests() as stop:
        tracker, folder = start_run(config)
        handler = log_to_file(folder / "train.log")
        try:
            best = _train(config, tracker, folder, stop)
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
    log.info("run %s finished, best val/dice %.4f", folder.name, best or float("nan"))
    return best


def _train(config: Config, tracker: Tracker, folder: Path, stop: StopRequest) -> float | None:
    from unet3d.data.preprocess import preprocess
    from unet3d.data.split import make_split, write_split
    from unet3d.data.stream import make_stream
    from unet3d.data.targets import make_targets
    from unet3d.models import stride

    store = preprocess(config.data)
    targets = make_targets(config.data, store.labels)
    split = make_split(store.cases, config.data)
    tracker.log_artifact(write_split(store, split, config.data), "data")
    stream = make_stream(
        store,
        split.train,
        config.data,
        config.augment,
        batch_size=config.batch_size,
        steps_per_epoch=config.steps_per_epoch,
        seed=config.seed,
        stride=stride(config.model),
    )
    log.info(
        "%d cases: %d train, %d val, %d test; outputs %s",
        *(len(cases) for cases in (store.cases, split.train, split.val, split.test)),
        ", ".join(targets.names),
    )

    with quiet_start():  # slow: only once the data is known to be good
        import tensorflow as tf

        tf.config.list_physical_devices()
    from unet3d.models import build_model
    from unet3d.models.profile import profile
    from unet3d.parallel.strategy import make_strategy, set_up_devices
    from unet3d.training.checkpoint import Progress, load_checkpoint
    from unet3d.training.loop import Training, best_weights, fit, last_checkpoint
    from unet3d.training.optimizer import make_optimizer
    from unet3d.training.schedule import make_schedule
    from unet3d.training.state import make_state
    from unet3d.visualize import learning_curves, validation_overlays

    device = set_up_devices(config)
    strategy = make_strategy(config)
    with strategy.scope():
        model = build_model(
            config.model, channels=len(store.channels), outputs=len(targets.names), seed=config.seed
        )
        schedule = make_schedule(config.schedule, config.lr, stream.steps_per_epoch, config.epochs)
        state = make_state(
            model,
            make_optimizer(config.optimizer, schedule),
            scaled=config.precision == "mixed_float16",
            ema=config.optimizer.ema,
        )
    cost = profile(model, stream.patch_shape, config.batch_size, config.precision)
    log.info(
        "%s on %s: %s parameters, %.1f GFLOP a patch, about %.2f GB to train",
        config.model.name,
        device,
        f"{cost.parameters:,}",
        cost.flops / 1e9,
        cost.training_bytes / 1e9,
    )
    tracker.set_tags(
        {
            "device": device,
            "data.fingerprint": store.fingerprint,
            "data.store": store.key,
            "model.parameters": str(cost.parameters),
        }
    )
    progress = Progress()
    if config.resume:
        progress = load_checkpoint(last_checkpoint(folder), state.variables())
        for record in progress.history:  # what a kill kept from the tracking store
            tracker.log_epoch(record)
        log.info("going on with run %s after step %d", folder.name, progress.step)
    training = Training(
        config,
        store,
        stream,
        split.val[: config.validation.cases],
        targets,
        strategy,
        state,
        tracker,
        folder,
        stop,
    )
    progress = fit(training, progress)
    if best_weights(folder).exists():
        model.load_weights(best_weights(folder))
        tracker.log_artifact(best_weights(folder), "model")
        tracker.log_artifact(validation_overlays(training), "figures")
    tracker.log_artifact(learning_curves(progress.history, folder), "figures")
    return progress.best
