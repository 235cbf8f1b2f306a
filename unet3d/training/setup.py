"""All that a training is made of, from its settings; what can be wrong with them shows here."""

from __future__ import annotations

import json
import logging
from dataclasses import dataclass, replace
from pathlib import Path
from statistics import StatisticsError, median
from typing import TYPE_CHECKING, Any

from unet3d.config.batch import with_replicas
from unet3d.config.rules import check_batch
from unet3d.config.schema import AUTO, Config, ModelConfig
from unet3d.config.target import OWN, OWN_GROUPS, find_target
from unet3d.datasets.dataset import Dataset
from unet3d.datasets.read import with_regions
from unet3d.distributed.progress import SET_UP, begin
from unet3d.distributed.worker import WorkerContext
from unet3d.errors import ConfigError, DataError, RunError
from unet3d.files import read_text
from unet3d.logs import quiet_start
from unet3d.preprocessing.preprocess import preprocess
from unet3d.preprocessing.scales import Scales, scales_of_json, training_scales
from unet3d.preprocessing.staging import stage
from unet3d.preprocessing.store import Store
from unet3d.run_folder import run_folder
from unet3d.sampling.find_split import recorded_split
from unet3d.sampling.patches import PatchStream, make_stream
from unet3d.sampling.split import Split, make_split
from unet3d.sampling.split_record import (
    SplitRecord,
    check_cases,
    check_description,
    log_changes,
    new_record,
    weight_changes,
)
from unet3d.sampling.targets import Targets, make_targets
from unet3d.training.fine_tuning import FineTuning, begin_with, init_file
from unet3d.training.own_metrics import OwnMetric, checked_metrics, own_metrics

if TYPE_CHECKING:
    import tensorflow as tf

    from unet3d.training.state import TrainState

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Setup:
    """Data, network and optimizer of one training."""

    config: Config  # complete: patch, topology and the data set's own regions
    store: Store  # to read from: with data.stage_to the node's copy
    split: Split  # case names for training, validation and test
    record: SplitRecord  # what the run keeps of its data
    targets: Targets  # what the network's outputs stand for
    stream: PatchStream  # of the training cases
    device: str  # its name, or CPU
    strategy: tf.distribute.Strategy  # over the replicas of all workers
    state: TrainState  # network, optimizer, moving average and loss scale
    worker: WorkerContext  # this process among those that train together
    baseline: float  # patches/s of run parallel.baseline; 0 without one
    plan: str  # what data.patch=auto has chosen and why; "" without it
    xla: bool  # whether XLA compiles the step
    fine_tuning: FineTuning  # what the network has begun with
    metrics: tuple[OwnMetric, ...]  # validation.metrics

    @property
    def val_cases(self) -> tuple[str, ...]:
        """The cases that every validation segments."""
        return tuple(self.split.val[: self.config.validation.cases])


def make_data(config: Config) -> tuple[Store, Targets, SplitRecord]:
    """Preprocess where needed, then choose the cases; sees that patches can be drawn from them.

    A resumed run keeps the split that it began with. Raises ConfigError or DataError for settings
    that do not fit each other or the data, and for data that have changed since the run began.
    """
    record = recorded_split(config) if config.resume else None
    if record is None:
        store = preprocess(config.data)
        record = new_record(make_split(store.cases, config.data, store.source), store)
    else:
        store, record = _data_of_before(config, record)
    store = replace(store, scales=_scales(config, store, record))
    ignore = store.source.ignore if store.source else None
    targets = make_targets(with_regions(config.data, store.source), store.labels, ignore)
    weights = config.loss.class_weights
    if weights is not None and len(weights) != len(targets.names):
        raise ConfigError(
            f"loss.class_weights: {weights} names {len(weights)} weights; the network has "
            f"{len(targets.names)} outputs: {', '.join(targets.names)}"
        )
    if config.data.patch != AUTO:
        stream_of(_with_topology(config, store, record.split), store, record.split)
    return store, targets, record


def _with_topology(config: Config, store: Store, split: Split) -> Config:
    """The settings with the strides that the patch will have to divide by."""
    if config.model.topology != AUTO:
        return config
    from unet3d.planning.topology import resolve_topology  # slow, as it imports TensorFlow

    return resolve_topology(config, store, split.train)


def _scales(config: Config, store: Store, record: SplitRecord) -> Scales:
    """How CT is scaled: by its training cases, and in a resumed run as it was when that began."""
    if config.resume and store.normalize:
        text = read_text(run_folder(config.output_dir, config.resume).description)
        if text is not None:
            return scales_of_json(json.loads(text).get("scales", ()))
    return training_scales(store.path, store.normalize, record.split.train)


def _data_of_before(config: Config, before: SplitRecord) -> tuple[Store, SplitRecord]:
    """The store and the record of a resumed run; what differs is refused before the store is built.

    The test cases are not looked at: that is up to `unet3d evaluate`.
    """
    cases = (*before.split.train, *before.split.val)

    def check(dataset: Dataset, inputs: dict[str, str]) -> None:
        check_description(dataset, config)
        check_cases(before, cases, inputs, config, weights=weight_changes(before, dataset))

    store = preprocess(config.data, check=check)
    found = {case: store.inputs[case] for case in store.cases}
    assert store.source is not None
    weights = weight_changes(before, store.source)
    # on_bad_case=skip may have left some out
    differ = check_cases(before, cases, found, config, weights=weights)
    record = before.of_today(cases, differ, store)
    if not (record.split.train and record.split.val):
        raise DataError(
            f"data.root: {config.data.root} has no case left that run {config.resume} "
            f"{'validates' if record.split.train else 'trains'} on; start another run"
        )
    log_changes(before, differ, store.cases, config)
    return store, record


def stream_of(config: Config, store: Store, split: Split) -> PatchStream:
    """The stream of the training cases' patches; data.patch is no longer `auto`."""
    return make_stream(
        store,
        split.train,
        config.data,
        config.augment,
        batch_size=config.batch_size,
        steps_per_epoch=config.steps_per_epoch,
        seed=config.seed,
        stride=config.model.stride,
    )


def make_setup(config: Config, worker: WorkerContext) -> Setup:
    """The data, then the network and its optimizer on the devices of this worker.

    The settings of the Setup are `config` with data.patch=auto resolved. Raises ConfigError or
    DataError for settings that do not fit each other, data or devices.
    """
    check_targets(config)
    initial = init_file(config)
    store, targets, record = make_data(config)
    data = with_regions(config.data, store.source)
    config = replace(config, data=replace(data, spacing=store.resampled_to))
    split = record.split
    staged = staged_store(config, store, split)
    begin(SET_UP)
    with quiet_start():  # slow, hence only once the data is known to be good
        import tensorflow as tf

        tf.config.list_physical_devices()
    from unet3d.distributed.strategy import local_replicas, make_strategy, set_up_devices
    from unet3d.losses import check_loss
    from unet3d.models import build_model
    from unet3d.planning.patch import resolve_patch
    from unet3d.planning.topology import resolve_topology
    from unet3d.training.layer_rates import set_layer_rates
    from unet3d.training.optimizer import make_optimizer
    from unet3d.training.schedule import make_schedule, scaled
    from unet3d.training.state import make_state
    from unet3d.training.xla import uses_xla

    device = set_up_devices(config, worker)
    check_loss(config.loss, targets.exclusive, len(targets.names))
    metrics = checked_metrics(config.validation.metrics, targets)
    strategy = make_strategy(config, worker)
    # With fewer workers than configured, batch and rate stay those of the configured number.
    replicas = config.nodes * local_replicas(strategy, worker)
    config = with_replicas(config, replicas)
    check_batch(config, strategy.num_replicas_in_sync)

    def build(settings: ModelConfig) -> Any:
        with strategy.scope():
            shape = {"channels": len(store.channels), "outputs": len(targets.names)}
            return build_model(settings, **shape, seed=config.seed)

    asked, config = config.model, resolve_topology(config, store, split.train)
    model = build(config.model)
    if config.steps_per_epoch is None and record.steps_per_epoch:
        config = replace(config, steps_per_epoch=record.steps_per_epoch)  # also with fewer cases
    config, plan = resolve_patch(config, store, split, model, strategy, worker)
    if plan:  # the patch is smaller than the one that the topology was chosen for
        smaller = resolve_topology(replace(config, model=asked), store, split.train)
        if smaller.model != config.model:
            config, model = smaller, build(smaller.model)
    stream = stream_of(config, staged, split)
    steps = stream.steps_per_epoch * config.epochs
    xla = uses_xla(config, steps, strategy.num_replicas_in_sync)
    with strategy.scope():
        fine_tuning = begin_with(model, initial, config.model.freeze)
        schedule = make_schedule(*scaled(config, replicas), stream.steps_per_epoch, config.epochs)
        optimizer = make_optimizer(config.optimizer, schedule)
        rates = set_layer_rates(optimizer, model, config.optimizer.layer_lr)
        fine_tuning = replace(fine_tuning, rates=rates)
        state = make_state(
            model,
            optimizer,
            scaled=config.precision == "mixed_float16",
            ema=config.optimizer.ema,
        )
    return Setup(
        config,
        staged,
        split,
        replace(record, steps_per_epoch=stream.steps_per_epoch),
        targets,
        stream,
        device,
        strategy,
        state,
        worker,
        baseline_speed(config),
        plan,
        xla,
        fine_tuning,
        tuple(metrics),
    )


def check_targets(config: Config) -> None:
    """ConfigError for a function of the user's own that is missing, before the data are read."""
    for group in OWN_GROUPS:
        settings: Any = getattr(config, group)
        if settings.name == OWN:
            find_target(f"{group}._target_", settings._target_)
    own_metrics(config.validation.metrics)


def staged_store(config: Config, store: Store, split: Split) -> Store:
    """The store to train and validate from: with data.stage_to this node's copy of those cases.

    Raises ConfigError for a folder that cannot take them.
    """
    if config.data.stage_to is None:
        return store
    val = split.val[: config.validation.cases]
    folder = Path(config.data.stage_to)
    return stage(store, (*split.train, *val), folder, config.data.workers)


def baseline_speed(config: Config) -> float:
    """Patches a second of run `parallel.baseline`, median over its epochs; 0 without one.

    Raises ConfigError for a run that does not exist or has not finished an epoch.
    """
    if config.parallel.baseline is None:
        return 0.0
    from unet3d.training.checkpoint import read_progress

    folder = run_folder(config.output_dir, config.parallel.baseline)
    try:
        history = read_progress(folder).history
        # The first epoch of a run has its compilation in it.
        epochs = [record["metrics"]["perf/patches_per_s"] for record in history]
        return float(median(epochs[1:] or epochs))
    except (RunError, StatisticsError, KeyError) as error:
        raise ConfigError(
            f"parallel.baseline: {config.parallel.baseline} has no finished epoch in "
            f"{folder.checkpoints} ({error}); give the id of a run with one replica"
        ) from error
