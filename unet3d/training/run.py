"""One training from its settings to its record: set up, run the loop, keep the results."""

from __future__ import annotations

import json
import logging
import os
import platform
import socket
from contextlib import AbstractContextManager, ExitStack, suppress
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from threading import Thread
from typing import TYPE_CHECKING, Any

from unet3d.config.schema import Config
from unet3d.distributed.gpus import check_gpus
from unet3d.distributed.progress import SAVING, begin
from unet3d.distributed.stop import StopRequest, stop_requests
from unet3d.distributed.worker import SINGLE_WORKER, WorkerContext
from unet3d.distributed.writer import FORMER_SECONDS, Writer, writing
from unet3d.errors import RunError, RunStopped, StorageError, TrialPruned, TrialRegrouped
from unet3d.files import write_text
from unet3d.logs import log_to_console, log_to_file
from unet3d.models import network_name
from unet3d.preprocessing.scales import scales_as_json
from unet3d.preprocessing.store import Store
from unet3d.run_folder import RunFolder, run_folder
from unet3d.sampling.split_record import description, write_record
from unet3d.tracking.connection import connect
from unet3d.tracking.run import start_run
from unet3d.tracking.tracker import NoTracker, Tracker
from unet3d.training.auto_resume import began_by_itself
from unet3d.training.continue_from import check_continued, continued_progress
from unet3d.training.resume import keep_patch
from unet3d.training.run_times import RunTimes, begin_times
from unet3d.training.setup import Setup, make_setup

if TYPE_CHECKING:
    from unet3d.training.checkpoint import TrainingProgress
    from unet3d.training.loop import Training

log = logging.getLogger(__name__)
STORAGE_SECONDS = 10.0  # for the tracking store, where the run's folder is full


def run_training(config: Config, worker: WorkerContext = SINGLE_WORKER) -> float | None:
    """Train as configured, or resume `config.resume`; returns the best val/dice.

    config: complete; that of a run to resume comes from `resumed_config`. worker: of this process
    among the workers that train together; the chief records the run.

    Raises ConfigError, DataError or RunError before a run is recorded where that can be known, and
    RunStopped after a signal. The run ends as FINISHED, FAILED or KILLED in the tracking store.
    """
    log_to_console()
    times = begin_times(own_process=worker.job_folder is None)
    if config.resume and worker.job_folder:  # complete before the start but for an automatic patch
        config = keep_patch(config)
    with stop_requests(worker) as stop, ExitStack() as held:
        with times.measure("start"):
            writer = None
            if worker.chief and config.resume:
                _check_writable(run_folder(config.output_dir, config.resume))
                writer = held.enter_context(_writing(config, config.resume, worker))
            check_gpus(config)
            check_continued(config)
            connection = connect(config, lost_run_ok=True) if worker.chief else None
            setup = make_setup(config, worker)
            config = setup.config  # as it is recorded: with the patch that auto has chosen
            progress = _resumed_progress(setup)
        if not worker.chief:
            folder = run_folder(config.output_dir, worker.wait_for_run())
            return _train(setup, NoTracker(), folder, stop, progress, times)
        with times.measure("start"):
            tracker, folder = start_run(config, connection)
            writer = writer or held.enter_context(_writing(config, folder.run_id, worker))
            writer.begun = True
        with log_to_file(folder.log):
            worker.announce_run(folder.run_id)
            return _recorded(setup, tracker, folder, stop, progress, times)


def _resumed_progress(setup: Setup) -> TrainingProgress | None:
    """How far `config.resume` has come, its state put into the network; None for a new run.

    Before the run is open again: one that cannot be resumed stays what it is in the tracking store.
    """
    from unet3d.training.checkpoint import has_checkpoint, load_checkpoint, remove_leftovers

    if not setup.config.resume:
        return _continued_progress(setup)
    folder = run_folder(setup.config.output_dir, setup.config.resume)
    if setup.worker.chief:
        remove_leftovers(folder)
    # A job or a trial may have been lost before the first checkpoint; a user would want to know.
    unattended = setup.worker.job_folder or began_by_itself(setup.config)
    if unattended and not has_checkpoint(folder):
        return _continued_progress(setup)
    return load_checkpoint(folder, setup.state.variables())


def _continued_progress(setup: Setup) -> TrainingProgress | None:
    """What a run begins with that continues from another one; None for one that does not."""
    if setup.config.continue_from is None:
        return None
    variables, steps = setup.state.variables(), setup.stream.steps_per_epoch
    return continued_progress(setup.config, variables, steps)


def _check_writable(folder: RunFolder) -> None:
    """Raise StorageError where a run could not go on, before it is set up."""
    for path in (folder.path, folder.checkpoints):
        if path.is_dir() and not os.access(path, os.W_OK):
            raise StorageError(
                f"{path}: cannot be written; let it be written to, or copy the run's folder to "
                "another output_dir, then resume again"
            )


def _writing(config: Config, run_id: str, worker: WorkerContext) -> AbstractContextManager[Writer]:
    """Be the only process that writes the run; a job waits for the end of its last attempt."""
    state = run_folder(config.output_dir, run_id).state
    patience = FORMER_SECONDS if worker.job_folder else 0.0
    return writing(state, f"run {run_id} is being trained", patience, config.epochs)


def _recorded(
    setup: Setup,
    tracker: Tracker,
    folder: RunFolder,
    stop: StopRequest,
    progress: TrainingProgress | None,
    times: RunTimes,
) -> float | None:
    """Train, and close the run in the tracking store with how it ended and what took how long."""

    def finish(status: str, reason: str = "") -> None:
        tracker.log_end(times.end_record)
        with times.measure("record"):
            tracker.finish(status, reason)
        log.info("time of this process: %s", times.text())

    try:
        best = _train(setup, tracker, folder, stop, progress, times)
    except TrialRegrouped:  # KILLED, as of any run that can resume, for the moment until it does
        finish("KILLED")
        raise
    except (RunStopped, KeyboardInterrupt) as error:
        finish("KILLED", str(error))
        raise
    except BaseException as error:
        # In a job the end of another worker can show here as any error; the job restarts or fails.
        if setup.worker.job_folder is None or isinstance(error, RunError):
            log.error("failed: %s", error)
            if isinstance(error, StorageError):
                _finish_soon(tracker, str(error))
            else:
                finish("FAILED", str(error))
        raise
    finish("FINISHED")
    return best


def _finish_soon(tracker: Tracker, reason: str) -> None:
    """End the run as FAILED; the tracking store, which may be on the same full disk, has seconds.

    It gets the rest when the run is resumed.
    """
    ending = Thread(target=tracker.finish, args=("FAILED", reason), daemon=True)
    ending.start()
    ending.join(STORAGE_SECONDS)


def _train(
    setup: Setup,
    tracker: Tracker,
    folder: RunFolder,
    stop: StopRequest,
    progress: TrainingProgress | None,
    times: RunTimes,
) -> float | None:
    """Train on from `progress`; None: from the start. Returns the best val/dice."""
    with times.measure("start"):
        from unet3d.training.checkpoint import TrainingProgress
        from unet3d.training.keep import storage_errors
        from unet3d.training.loop import Training, fit
        from unet3d.training.memory import memory_errors
        from unet3d.training.peak_memory import PeakMemory

        memory = PeakMemory(_describe(setup, tracker))
        if setup.worker.chief:
            with storage_errors(folder, folder.split.name):
                write_record(folder.split, setup.record)
            tracker.log_artifact(folder.split, "data")
            with storage_errors(folder, folder.description.name):
                tracker.log_artifact(describe_data(setup.store, folder.description), "config")
        recorded: dict[str, Any] = {"tracker": tracker, "folder": folder, "stop": stop}
        training = Training(**vars(setup), **recorded, times=times, memory=memory)
        if progress is None:
            progress = TrainingProgress()
        else:
            for record in progress.history:  # what a kill kept from the tracking store
                tracker.log_epoch(record)
            times.epochs = len(progress.history)
            log.info("resumed after step %d", progress.step)
    replicas = setup.strategy.num_replicas_in_sync
    try:
        with memory_errors(setup.config, setup.device, replicas):
            progress = fit(training, progress)
    except TrialPruned as pruned:  # what it has reached is kept as of a run that ended
        log.info("%s", pruned)
        tracker.set_tags({"sweep.pruned": "true"})
    begin(SAVING)
    if setup.worker.chief:
        with times.measure("end"), storage_errors(folder, "the run's pictures"):
            _keep_results(training, progress.history)
    if progress.best is not None:
        log.info(
            "best val/dice %.4f in epoch %d; weights, log and pictures are in %s",
            progress.best,
            progress.best_epoch,
            folder.path,
        )
    return progress.best


def _describe(setup: Setup, tracker: Tracker) -> float:
    """Describe in the log and in the tags what will run.

    Returns the bytes that a step is predicted to take, 0 where they cannot be counted.
    """
    config, split = setup.config, setup.split
    cases = [len(part) for part in (split.train, split.val, split.test)]
    log.info(
        "%s: %d train, %d val, %d test cases; outputs %s",
        config.data.name,
        *cases,
        ", ".join(setup.targets.names),
    )
    if config.data.stage_to is not None:
        log.info("data: each node reads from its copy in %s", setup.store.path)
    if setup.plan:
        log.info("data.patch=auto: %s", setup.plan)
    cost, predicted = _cost_in_words(setup)
    log.info("%s on %s: %s", network_name(config.model), setup.device, cost)
    for line in setup.fine_tuning.lines():
        log.info("%s", line)
    arithmetic = _arithmetic(setup)
    log.info("arithmetic: %s", ", ".join(f"{name} {value}" for name, value in arithmetic.items()))
    worker, replicas = setup.worker, setup.strategy.num_replicas_in_sync
    if replicas > 1:
        log.info(
            "%d replicas on %d workers, %d patches each of the global batch of %d",
            replicas,
            worker.workers,
            config.batch_size // replicas,
            config.batch_size,
        )
    tracker.set_tags(
        {
            "device": setup.device,
            "threads": str(config.threads or worker.threads or "all"),
            "versions": versions(),
            "data.digest": setup.record.digest,
            "data.store": setup.store.key,
            "model.parameters": str(setup.state.model.count_params()),
            "parallel.world_size": str(replicas),
            "parallel.workers": str(worker.workers),
            "parallel.placement": ", ".join(worker.hosts) or socket.gethostname(),
            "parallel.restarts": str(worker.restarts),
        }
        | arithmetic
        | setup.fine_tuning.tags()
    )
    tracker.log_dataset(
        {
            "name": config.data.name,
            "digest": setup.record.digest,
            "root": str(Path(config.data.root).resolve()),
            "cases": "{} train, {} val, {} test".format(*cases),
        }
    )
    if worker.job_folder and (changes := worker.job_folder.regroupings()):
        shown = [f"epoch {epoch}: {before} -> {after} devices" for epoch, before, after in changes]
        tracker.set_tags({"sweep.grown": "; ".join(shown)})
    if config.continue_from is not None:
        tracker.set_tags({"continue_from": config.continue_from})
    if setup.record.accepted:
        tracker.set_tags({"data.accepted": " | ".join(setup.record.accepted)})
    return predicted


def versions() -> str:
    """Of Python and of what the result of a training depends on."""
    found = {"python": platform.python_version()}
    for name in ("unet3d", "tensorflow", "keras", "numpy"):
        with suppress(PackageNotFoundError):
            found[name] = version(name)
    return ", ".join(f"{name} {number}" for name, number in found.items())


def _cost_in_words(setup: Setup) -> tuple[str, float]:
    """Parameters, operations and memory of the network, as far as they can be counted.

    With the bytes of a step, 0 where they cannot.
    """
    from unet3d.planning.cost import what_is_not_counted
    from unet3d.planning.patch import patches_at_once, step_cost

    model, shape = setup.state.model, setup.stream.patch_shape
    parameters = f"{model.count_params():,} parameters"
    if uncounted := what_is_not_counted(model):
        return f"{parameters}; operations and memory are not known, as {uncounted}", 0.0
    batch = patches_at_once(setup.config, setup.strategy.num_replicas_in_sync)
    cost = step_cost(setup.config, model, shape, batch)
    words = (
        f"{parameters}, {cost.flops / 1e9:.1f} GFLOP forward for a patch of "
        f"{'x'.join(str(size) for size in shape)}, about {cost.training_bytes / 1e9:.2f} GB to "
        f"train on {batch} at once"
    )
    return words, float(cost.training_bytes)


def _arithmetic(setup: Setup) -> dict[str, str]:
    """How the device computes, as tags: what two runs must share to be equal bit by bit."""
    import tensorflow as tf

    tf32 = tf.config.experimental.tensor_float_32_execution_enabled()
    return {
        "precision": setup.config.precision,
        "tf32": "on" if tf32 and setup.device != "CPU" else "off",
        "xla": "on" if setup.xla else "off",
        "deterministic": "on" if setup.config.deterministic else "off",
    }


def _keep_results(training: Training, history: list[dict]) -> None:
    """The best weights, the pictures and the log, in the run's folder and its artifacts."""
    from unet3d.inference.weights import load_weights
    from unet3d.training.figures import learning_curves, validation_overlays

    tracker, folder = training.tracker, training.folder
    if folder.best_weights.exists():
        load_weights(training.state.model, folder.best_weights)
        tracker.log_artifact(folder.best_weights, "model")
        tracker.log_artifact(validation_overlays(training), "")
    if folder.case_scores.exists():
        tracker.log_artifact(folder.case_scores, "data")
    tracker.log_artifact(learning_curves(history, folder.learning_curves), "")
    tracker.log_artifact(folder.log, "log")


def describe_data(store: Store, path: Path) -> Path:
    """Write the sequences and labels of a run's network to `path`, and return it.

    With how each sequence is normalised, where that is another way than by each case's own figures.
    """
    described = description(store.channels, store.labels)
    if store.normalize:
        described["normalize"] = store.normalize
        described["scales"] = scales_as_json(store.scales)
    write_text(path, json.dumps(described, indent=1))
    return path
