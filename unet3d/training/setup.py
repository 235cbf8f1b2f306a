"""All that a training is made of, from its settings; what can be wrong with them shows here."""

from __future__ import annotations

import logging
from dataclasses import dataclass
from pathlib import Path
from statistics import StatisticsError, median
from typing import TYPE_CHECKING

from unet3d.checks import check_batch
from unet3d.config import AUTO, Config, ConfigError
from unet3d.data.preprocess import preprocess
from unet3d.data.split import Split, make_split, split_path, write_split
from unet3d.data.stage import stage
from unet3d.data.store import Store
from unet3d.data.stream import PatchStream, make_stream
from unet3d.data.targets import Targets, make_targets
from unet3d.parallel.place import Place
from unet3d.quiet import quiet_start
from unet3d.tracking.run import run_folder
from unet3d.training.errors import RunError

if TYPE_CHECKING:
    import tensorflow as tf

    from unet3d.training.state import TrainState

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Setup:
    """Data, network and optimizer of one training."""

    config: Config
    store: Store  # that is read from: with data.stage_to the copy
    split: Split
    split_file: Path
    targets: Targets
    stream: PatchStream
    device: str
    strategy: tf.distribute.Strategy
    state: TrainState
    place: Place
    baseline: float  # patches/s of parallel.baseline, 0 without
    plan: str  # what data.patch=auto has chosen and why, "" without

    @property
    def val_cases(self) -> tuple[str, ...]:
        """The cases that every validation segments."""
        return tuple(self.split.val[: self.config.validation.cases])


def make_data(config: Config) -> tuple[Store, Targets, Split]:
    """Preprocess where needed, then choose the cases; sees that patches can be drawn from them.

    Raises ConfigError or DataError for settings that do not fit each other or the data.
    """
    store = preprocess(config.data)
    targets = make_targets(config.data, store.labels)
    split = make_split(store.cases, config.data)
    if config.data.patch != AUTO:
        stream_of(config, store, split)
    return store, targets, split


def stream_of(config: Config, store: Store, split: Split) -> PatchStream:
    """The stream of the training cases' patches; data.patch is no longer `auto`."""
    from unet3d.models import stride

    return make_stream(
        store,
        split.train,
        config.data,
        config.augment,
        batch_size=config.batch_size,
        steps_per_epoch=config.steps_per_epoch,
        seed=config.seed,
        stride=stride(config.model),
    )


def make_setup(config: Config, place: Place) -> Setup:
    """The data, then the network and its optimizer on the devices of this worker.

    The settings of the Setup are `config` with data.patch=auto resolved. Raises ConfigError or
    DataError for settings that do not fit each other, data or devices.
    """
    store, targets, split = make_data(config)
    near = near_store(config, store, split)
    with quiet_start():  # slow, hence only once the data is known to be good
        import tensorflow as tf

        tf.config.list_physical_devices()
    from unet3d.models import build_model
    from unet3d.parallel.strategy import local_replicas, make_strategy, set_up_devices
    from unet3d.training.optimizer import make_optimizer
    from unet3d.training.patch import resolve_patch
    from unet3d.training.schedule import make_schedule, scaled
    from unet3d.training.state import make_state

    device = set_up_devices(config, place)
    strategy = make_strategy(config, place)
    check_batch(config, strategy.num_replicas_in_sync)
    # With fewer workers than asked for, the rate stays that of the workers asked for.
    replicas = config.nodes * local_replicas(strategy, place)
    with strategy.scope():
        model = build_model(
            config.model,
            channels=len(store.channels),
            outputs=len(targets.names),
            seed=config.seed,
        )
    config, plan = resolve_patch(config, store, split, model, strategy, place)
    stream = stream_of(config, near, split)
    with strategy.scope():
        schedule = make_schedule(*scaled(config, replicas), stream.steps_per_epoch, config.epochs)
        state = make_state(
            model,
            make_optimizer(config.optimizer, schedule),
            scaled=config.precision == "mixed_float16",
            ema=config.optimizer.ema,
        )
    split_file = split_path(store, config.data)
    if place.chief:
        write_split(store, split, config.data)
    return Setup(
        config,
        near,
        split,
        split_file,
        targets,
        stream,
        device,
        strategy,
        state,
        place,
        baseline_speed(config),
        plan,
    )


def near_store(config: Config, store: Store, split: Split) -> Store:
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

    Raises ConfigError for a run that is not there or did not finish an epoch.
    """
    if config.parallel.baseline is None:
        return 0.0
    from unet3d.training.checkpoint import last_checkpoint, read_progress

    path = last_checkpoint(run_folder(config, config.parallel.baseline))
    try:
        history = read_progress(path).history
        # The first epoch of a run has its compilation in it.
        epochs = [record["metrics"]["perf/patches_per_s"] for record in history]
        return float(median(epochs[1:] or epochs))
    except (RunError, StatisticsError, KeyError) as error:
        raise ConfigError(
            f"parallel.baseline: {config.parallel.baseline} has no finished epoch in {path.parent} "
            f"({error}); give the id of a run with one replica"
        ) from error
