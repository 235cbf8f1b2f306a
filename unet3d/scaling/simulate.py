"""`unet3d simulate`: what a sweep would take on clusters of other sizes, by each parallelism."""

from __future__ import annotations

import csv
import io
import json
import logging
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path

from unet3d.config.schema import SimulateConfig
from unet3d.errors import ConfigError
from unet3d.files import write_text
from unet3d.planning.gantt import clock, table, text_gantt
from unet3d.planning.simulated import Cluster, Outcome, Policy
from unet3d.planning.simulator import one_device, simulate
from unet3d.planning.timing import Timing
from unet3d.scaling.plots import draw_gantt, draw_speedup
from unet3d.scaling.trials import Study, trials_of_settings, trials_of_sweep
from unet3d.sweep.forecast.known_timing import timing_for
from unet3d.sweep.sweep_folder import find_sweep

log = logging.getLogger(__name__)
HEADINGS = ("GPUs", "parallelism", "time", "speed-up", "efficiency", "busy", "GPU-hours", "price")
SIMULATED = "simulated, not measured"


@dataclass(frozen=True)
class Row:
    """A way to run the study. price: None where no price of a device-hour is given."""

    devices: int
    parallelism: str
    seconds: float
    speedup: float
    busy: float
    device_hours: float
    price: float | None
    lost: int

    def cells(self) -> tuple[str, ...]:
        """For the table in the terminal."""
        return (
            str(self.devices),
            self.parallelism,
            clock(self.seconds),
            f"{self.speedup:.1f}",
            f"{self.speedup / self.devices:.0%}",
            f"{self.busy:.0%}",
            f"{self.device_hours:.3g}",
            "-" if self.price is None else f"{self.price:.2f}",
        )


def simulate_command(
    settings: SimulateConfig, sweep: str | None, overrides: Sequence[str], output_dir: str
) -> Path:
    """Print the table, write it with its pictures, and return their folder.

    sweep: the name of one that has run; None: the grid of `overrides`. Raises ConfigError, RunError
    or DataError for what cannot be simulated.
    """
    if not settings.gpus or min(settings.gpus) < 1:
        raise ConfigError(f"gpus: {settings.gpus} is not possible; write gpus=1,2,4,8")
    if sweep:
        find_sweep(output_dir, sweep)
    timing = timing_for(settings.timing, settings.runs, output_dir)
    study = trials_of_sweep(output_dir, sweep) if sweep else trials_of_settings(overrides, settings)
    weak = study.per_replica if settings.weak is None else settings.weak
    alone = Policy(weak=weak, warm=settings.warm)
    base = one_device(study.trials, timing, alone, settings.seed)
    rows, outcomes = [], {}
    for devices in settings.gpus:
        cluster = _cluster(devices, settings)
        for policy in policies(cluster, weak, settings.warm):
            outcome = simulate(study.trials, cluster, timing, policy, settings.seed)
            name = policy.name(cluster) + (", growing" if policy.grow else "")
            rows.append(_row(outcome, name, base.makespan, settings.price))
            outcomes[devices, name] = outcome
    folder = Path(output_dir) / "simulations" / study.name
    best = min((r for r in rows if r.devices == max(settings.gpus)), key=lambda row: row.seconds)
    _print(study, timing, rows, outcomes[best.devices, best.parallelism], best)
    _write(folder, study, timing, rows)
    draw_speedup(rows, folder, f"{len(study.trials)} trials, {SIMULATED}")
    title = f"{best.devices} devices, {best.parallelism}: {SIMULATED}"
    draw_gantt(outcomes[best.devices, best.parallelism], folder / "gantt.png", title)
    print(f"table and pictures: {folder}")
    return folder


def policies(cluster: Cluster, weak: bool = False, warm: bool = True) -> list[Policy]:
    """Experiment parallelism, also with trials that grow; data parallelism; a node a trial."""
    alone = Policy(weak=weak, warm=warm)
    if cluster.devices == 1:
        return [alone]
    found = [
        alone,
        replace(alone, grow=True, longest_first=True),
        replace(alone, devices=cluster.devices),
    ]
    if 1 < cluster.devices_per_node < cluster.devices:
        found.append(replace(alone, devices=cluster.devices_per_node))
    return found


def _cluster(devices: int, settings: SimulateConfig) -> Cluster:
    size = min(devices, settings.gpus_per_node)
    if devices % size:
        raise ConfigError(
            f"gpus: {devices} is no multiple of gpus_per_node={settings.gpus_per_node}; name whole "
            "nodes"
        )
    return Cluster(devices // size, size, settings.losses)


def _row(outcome: Outcome, name: str, base: float, price: float | None) -> Row:
    hours = outcome.device_seconds / 3600
    return Row(
        outcome.devices,
        name,
        outcome.makespan,
        base / outcome.makespan,
        outcome.busy,
        hours,
        None if price is None else hours * price,
        outcome.lost,
    )


def _print(study: Study, timing: Timing, rows: Sequence[Row], outcome: Outcome, best: Row) -> None:
    print(f"{study.name}: {len(study.trials)} trials, {SIMULATED}")
    if study.assumed:
        print(f"data: {study.assumed}")
    print(f"timing: {timing.describe()}")
    print("\n".join(table([HEADINGS, *(row.cells() for row in rows)])))
    if outcome.extrapolated:
        print(f"extrapolated: {'; '.join(outcome.extrapolated)}")
    print(f"{best.devices} devices, {best.parallelism}: {clock(best.seconds)}")
    print("\n".join(text_gantt(outcome)))


def _write(folder: Path, study: Study, timing: Timing, rows: Sequence[Row]) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    text = io.StringIO()
    writer = csv.DictWriter(text, list(asdict(rows[0])), lineterminator="\n")
    writer.writeheader()
    writer.writerows(asdict(row) for row in rows)
    write_text(folder / "table.csv", text.getvalue())
    content = {
        "simulated": True,
        "study": study.name,
        "assumed": study.assumed,
        "timing": asdict(timing),
        "rows": [asdict(row) for row in rows],
    }
    write_text(folder / "simulation.json", json.dumps(content, indent=1))
