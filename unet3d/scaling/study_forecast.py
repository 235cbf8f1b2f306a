"""What the parts of a study will take, by constants that are fitted to other runs."""

from __future__ import annotations

import logging
from collections.abc import Sequence

from unet3d.config.schema import Config
from unet3d.errors import DataError
from unet3d.planning.simulated import Cluster, Policy
from unet3d.planning.simulator import simulate
from unet3d.scaling.cells import Cell
from unet3d.scaling.devices import NODES, StudyDevices
from unet3d.sweep.forecast.forecast import sweep_overhead
from unet3d.sweep.forecast.known_timing import timing_for
from unet3d.training.run_cost import trials_like

log = logging.getLogger(__name__)


def forecast_cells(
    cells: Sequence[Cell],
    configs: Sequence[Config],
    trials: int,
    runs: str,
    devices: StudyDevices,
    weak: bool,
) -> dict[str, float]:
    """Simulated seconds by a cell's name; none where the store is not built, which is said.

    configs: of the trials, with the epochs that they will train. runs: as scaling.from. Raises
    RunError where these do not exist or have finished no epoch.
    """
    output_dir = configs[0].output_dir
    timing = timing_for(None, runs, output_dir)
    try:
        simulated = trials_like(configs, trials)
    except DataError as error:
        log.info("scaling: no forecast: %s", error)
        return {}
    overhead = sweep_overhead(output_dir, timing)
    found = {}
    for cell in cells:
        far = devices.kind == NODES
        cluster = Cluster(cell.devices, 1) if far else Cluster(cell.at_once, cell.each)
        policy = Policy(devices=cell.each, longest_first=True, weak=weak, ready=True)
        found[cell.name] = overhead + simulate(simulated, cluster, timing, policy).makespan
    log.info("scaling: forecasts, simulated, rest on %s", timing.describe())
    return found
