"""What a sweep will take: simulated, kept, and compared with what it took."""

from __future__ import annotations

import json
import logging
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from statistics import median

from unet3d.config.schema import Config
from unet3d.errors import DataError, RunError
from unet3d.files import read_text, write_text
from unet3d.planning.gantt import clock, text_gantt
from unet3d.planning.simulated import Cluster, Outcome, Policy, SimulatedTrial
from unet3d.planning.simulator import simulate
from unet3d.planning.timing import Timing
from unet3d.sweep.forecast.known_timing import timing_of_runs
from unet3d.sweep.growth.regroup import replica_setting
from unet3d.sweep.resources import TrialResources
from unet3d.sweep.sweep_folder import SWEEP, SweepFacts, SweepFolder
from unet3d.training.run_cost import trials_like

log = logging.getLogger(__name__)
RAY_SECONDS = 15.0  # to start Ray and its workers, where no sweep has been measured


@dataclass(frozen=True)
class Forecast:
    """A sweep's time, simulated. seconds: from its start to its end; timing: what that rests on."""

    seconds: float
    device_hours: float
    trials: int
    timing: str

    def compared(self, seconds: float) -> str:
        """The forecast beside what the sweep took, in a sentence."""
        off = seconds / self.seconds - 1
        return (
            f"Forecast (simulated): {clock(self.seconds)}; it took {clock(seconds)}, "
            f"{abs(off):.0%} {'more' if off > 0 else 'less'}. Constants of {self.timing}."
        )


def simulated_sweep(
    configs: Sequence[Config],
    total: int,
    resources: TrialResources,
    timing: Timing,
    grow: bool = False,
) -> Outcome:
    """`total` trials like `configs`, each with `resources`, on workers that are there already.

    Raises DataError without a store.
    """
    trials = trials_like(configs, total)
    each = max(1, round(resources.gpus)) * resources.workers_per_trial
    cluster = Cluster(resources.at_once, each)  # a node for each trial that runs at once
    policy = Policy(devices=each, longest_first=True, grow=grow, ready=True)
    return simulate(trials, cluster, timing, policy)


def simulated_trials(
    trials: Sequence[SimulatedTrial], resources: TrialResources, timing: Timing
) -> list[float]:
    """Seconds of each trial by itself, with `resources`, on workers that are there already."""
    each = max(1, round(resources.gpus)) * resources.workers_per_trial
    steady, policy = replace(timing, spread=0.0), Policy(devices=each, ready=True)
    one = Cluster(1, each)
    return [simulate([trial], one, steady, policy).makespan for trial in trials]


def may_grow(configs: Sequence[Config], grow: str) -> bool:
    """Whether trials may continue on more devices, as the sweep decides. grow: sweep.grow."""
    if grow == "auto":
        return all(replica_setting(config) is None for config in configs)
    return grow == "always"


def sweep_overhead(output_dir: str, timing: Timing) -> float:
    """Seconds of a sweep before its first trial and after its last.

    The median of those of sweeps that have ended here; else that of a process, and of Ray.
    """
    known = [facts.overhead for facts in _sweeps(output_dir) if facts.overhead > 0]
    return median(known) if known else timing.start + RAY_SECONDS


def with_new_workers(timing: Timing, output_dir: str) -> Timing:
    """With the start of a process where runs were trained by workers that were there already.

    Such a run does not say what one takes that is started for it, as for a trial that grows; the
    sweeps that have ended here do.
    """
    known = [facts.worker_start for facts in _sweeps(output_dir) if facts.worker_start > 0]
    if not known:
        return timing
    return replace(timing, start=max(timing.start, timing.warm_start + median(known)))


def _sweeps(output_dir: str) -> list[SweepFacts]:
    """What is kept of those in `output_dir`."""
    found = (Path(output_dir) / "sweeps").glob(f"*/{SWEEP}")
    return [SweepFolder(path.parent).facts() for path in found]


def forecast_lines(
    configs: Sequence[Config],
    total: int,
    resources: TrialResources,
    folder: SweepFolder,
    grow: str,
    runs: Sequence[str],
) -> list[str]:
    """The forecast of a sweep, for the log; kept in `folder`.

    grow: sweep.grow; runs: that were there before it. A line that says why, where there is no
    forecast: nothing is measured yet, or no store is built.
    """
    output_dir = configs[0].output_dir
    try:
        timing = timing_of_runs(runs, f"runs of {output_dir}", output_dir)
        timing = with_new_workers(timing, output_dir)
        outcome = simulated_sweep(configs, total, resources, timing, may_grow(configs, grow))
    except (RunError, DataError) as error:
        return [f"no forecast: {error}"]
    seconds = outcome.makespan + sweep_overhead(output_dir, timing)
    hours = seconds * outcome.devices / 3600
    found = Forecast(seconds, hours, total, timing.describe())
    folder.path.mkdir(parents=True, exist_ok=True)
    write_text(folder.forecast, json.dumps(asdict(found), indent=1))
    lines = [
        f"forecast, simulated: {clock(found.seconds)}, {hours:.3g} device-hours; {found.timing}",
    ]
    if outcome.extrapolated:
        lines.append(f"extrapolated: {'; '.join(outcome.extrapolated)}")
    return lines + text_gantt(outcome)


def comparison(folder: SweepFolder) -> str:
    """The forecast beside what the sweep took; "" where either is not known."""
    text, seconds = read_text(folder.forecast), folder.facts().seconds
    if text is None or not seconds:
        return ""
    try:
        return Forecast(**json.loads(text)).compared(seconds)
    except (ValueError, TypeError):
        return ""
