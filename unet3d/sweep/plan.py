"""What a sweep is to run, and the settings of each of its runs."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from unet3d.config.schema import AUTO, Config, ParallelConfig, SweepRunConfig
from unet3d.errors import RunError
from unet3d.sweep.resources import TrialResources
from unet3d.sweep.search.search import Search
from unet3d.sweep.sweep_folder import SweepFolder
from unet3d.sweep.trial import Trial


@dataclass(frozen=True)
class SweepPlan:
    """What to run. trials: those known beforehand, all of a grid, the first two of a search.

    later: others of which the data are made ready beforehand.
    """

    config: SweepRunConfig
    name: str
    swept: list[str]
    trials: Sequence[Trial]
    total: int
    make_search: Callable[[SweepFolder], Search]
    ray_init: dict[str, Any] = field(default_factory=dict)
    ray_remote: dict[str, Any] = field(default_factory=dict)
    later: Sequence[Trial] = ()
    auto: str = ""  # what parallel=auto has considered


def run_config(
    trial: Trial, plan: SweepPlan, resources: TrialResources, parent: str | None, run_id: str | None
) -> Config:
    """The settings of a trial's run: the trial's own, recorded under the sweep, on `resources`."""
    config = trial.config
    if config.parallel.name == AUTO:  # what was chosen for all trials, also those of a search
        config = replace(config, parallel=plan.config.parallel, nodes=plan.config.nodes)
    tags = {
        **config.tracking.tags,
        "sweep.name": plan.name,
        "sweep.trial": str(trial.number),
        "sweep.key": trial.key,
        **{f"sweep.{key}": value for key, value in trial.swept.items()},
    }
    tracking = replace(config.tracking, parent=parent, run_name=trial.name, tags=tags)
    parallel = config.parallel
    if resources.workers_per_trial > 1:  # they will be free, if perhaps not at once
        parallel = replace(
            parallel,
            cpus_per_node=resources.cpus,
            gpus_per_node=int(resources.gpus) or parallel.gpus_per_node,
            min_nodes=None,
            wait_for_nodes=24 * 3600.0,
        )
    data = replace(config.data, workers=config.data.workers or resources.cpus)
    return replace(config, resume=run_id, tracking=tracking, parallel=parallel, data=data)


def check_alike(trials: Sequence[Trial]) -> None:
    """RunError where trials differ in what all trials of a sweep have in common."""

    def shared(config: Config) -> tuple[ParallelConfig, int, str, str]:
        return config.parallel, config.nodes, config.output_dir, config.tracking.name

    for trial in trials[1:]:
        if shared(trial.config) != shared(trials[0].config):
            raise RunError(
                f"trial {trial.number} ({trial.name}): parallel.*, nodes, output_dir and tracking "
                "are the same for all trials of a sweep; type one sweep for each"
            )
