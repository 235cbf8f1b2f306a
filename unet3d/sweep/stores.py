"""The stores that the trials of a sweep read: built once, and the same for all of them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from unet3d.config.schema import Config
from unet3d.errors import DataError
from unet3d.sampling.split_record import ACCEPT, differences
from unet3d.sweep.sweep_folder import SweepFolder
from unet3d.sweep.trial import Trial


def make_stores(trials: Sequence[Trial], folder: SweepFolder) -> None:
    """Preprocess once, before the trials; errors in data or patches show here.

    Raises DataError where the data are not those of the sweep's first command: trials are
    compared by their results on the same cases.
    """
    from unet3d.training.setup import make_data

    seen: list[Any] = []
    for trial in trials:
        config = trial.config
        needs = (config.data, config.augment, config.batch_size, config.model.depth)
        if needs not in seen:
            seen.append(needs)
            _check_inputs(config, folder, make_data(config)[0].inputs)


def _check_inputs(config: Config, folder: SweepFolder, inputs: Mapping[str, str]) -> None:
    root = str(Path(config.data.root).resolve())
    before = folder.inputs(root)
    if before is not None and before != inputs and config.data.changed != "accept":
        differ = differences(before, inputs, {*before, *inputs})
        raise DataError(
            f"data.root: {config.data.root} is not as it was when sweep {folder.path.name} began: "
            f"{differ}, so that its trials would not compare; choose another sweep.name, put back "
            f"what it was, or type {ACCEPT}"
        )
    folder.keep_inputs(root, inputs)
