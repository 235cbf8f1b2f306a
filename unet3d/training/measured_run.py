"""What a run has taken, from its folder: for the model of time in unet3d.planning.timing."""

from __future__ import annotations

import logging
from collections.abc import Iterable
from pathlib import Path

from unet3d.config.compose import stored_config
from unet3d.errors import ConfigError, DataError, RunError
from unet3d.planning.fit_timing import MeasuredRun
from unet3d.planning.timing import Placement
from unet3d.run_folder import RunFolder, run_folder
from unet3d.sampling.split_record import read_record
from unet3d.tracking.facts import read_facts
from unet3d.training.checkpoint import read_progress
from unet3d.training.run_cost import Stores, cost_on_split
from unet3d.training.run_times import PARTS

log = logging.getLogger(__name__)


def measured_runs(output_dir: str | Path, run_ids: Iterable[str]) -> list[MeasuredRun]:
    """Those of the runs that have finished an epoch; a line for each that cannot be used."""
    found, stores = [], Stores()
    for run_id in run_ids:
        try:
            found.append(measured_run(run_folder(output_dir, run_id), stores))
        except (RunError, DataError, ConfigError) as error:
            log.info("timing: run %s is left out: %s", run_id, error)
    return found


def measured_run(folder: RunFolder, stores: Stores) -> MeasuredRun:
    """What a run has taken. Raises RunError or DataError where its folder or data do not say."""
    history = read_progress(folder).history
    record = read_record(folder.split)
    if not history or record is None:
        raise RunError("it has not finished an epoch")
    config, facts = stored_config(folder.config), read_facts(folder)
    store = stores.of(config.data)
    replicas = int(facts.tags.get("parallel.world_size", 1))
    parts = dict.fromkeys(PARTS, 0.0)
    for epoch in history:
        for part in PARTS:
            parts[part] += epoch["metrics"].get(f"perf/{part}_s", 0.0)
    if facts.end:  # from the last epoch's figures on: checkpoint, pictures, record
        parts["end"] = max(0.0, (facts.end - history[-1]["time"]) / 1000)
    return MeasuredRun(
        id=folder.run_id,
        cost=cost_on_split(config, store, record.split),
        placement=Placement(replicas, int(facts.tags.get("parallel.workers", 1))),
        parts=parts,
        epochs=len(history),
        warm="sweep.trial" in facts.tags,
        regrouped="sweep.grown" in facts.tags,
    )
