"""All that a training is made of, from its settings; what can be wrong with them shows here."""

from __future__ import annotations

import logging
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from unet3d.config import Config
from unet3d.data.preprocess import preprocess
from unet3d.data.split import Split, make_split, write_split
from unet3d.data.store import Store
from unet3d.data.stream import PatchStream, make_stream
from unet3d.data.targets import Targets, make_targets
from unet3d.quiet import quiet_start

if TYPE_CHECKING:
    import tensorflow as tf

    from unet3d.training.state import TrainState

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Setup:
    """Data, network and optimizer of one training."""

    config: Config
    store: Store
    split: Split
    split_file: Path
    targets: Targets
    stream: PatchStream
    device: str
    strategy: tf.distribute.Strategy
    state: TrainState

    @property
    def val_cases(self) -> tuple[str, ...]:
        """The cases that every validation segments."""
        return tuple(self.split.val[: self.config.validation.cases])


def make_setup(config: Config) -> Setup:
    """Preprocess where needed, then build stream and network.

    Raises ConfigError or DataError for settings that do not fit each other or the data.
    """
    from unet3d.models import stride

    store = preprocess(config.data)
    targets = make_targets(config.data, store.labels)
    split = make_split(store.cases, config.data)
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
    with quiet_start():  # slow, hence only once the data is known to be good
        import tensorflow as tf

        tf.config.list_physical_devices()
    from unet3d.models import build_model
    from unet3d.parallel.strategy import make_strategy, set_up_devices
    from unet3d.training.optimizer import make_optimizer
    from unet3d.training.schedule import make_schedule
    from unet3d.training.state import make_state

    device = set_up_devices(config)
    strategy = make_strategy(config)
    with strategy.scope():
        schedule = make_schedule(config.schedule, config.lr, stream.steps_per_epoch, config.epochs)
        state = make_state(
            build_model(
                config.model,
                channels=len(store.channels),
                outputs=len(targets.names),
                seed=config.seed,
            ),
            make_optimizer(config.optimizer, schedule),
            scaled=config.precision == "mixed_float16",
            ema=config.optimizer.ema,
        )
    split_file = write_split(store, split, config.data)
    return Setup(config, store, split, split_file, targets, stream, device, strategy, state)
