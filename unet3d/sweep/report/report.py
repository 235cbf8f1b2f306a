"""The report of a sweep, at its end or again: a page, and its pictures as files beside it."""

from __future__ import annotations

import logging
import shutil
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from unet3d.config.schema import Config
from unet3d.files import write_text
from unet3d.run_folder import run_folder
from unet3d.sweep.forecast.forecast import comparison
from unet3d.sweep.report.configuration_table import print_verdict, write_results
from unet3d.sweep.report.cost import cost_plot, cost_sentence
from unet3d.sweep.report.front import front_plot, front_sentence
from unet3d.sweep.report.lineage import lineage_plot, lineage_sentence, write_lineage
from unet3d.sweep.report.memory import memory_sentence
from unet3d.sweep.report.page import Picture, page
from unet3d.sweep.report.parameters import LeftOut, best_of
from unet3d.sweep.report.plots import (
    plot_importance,
    plot_learning_curves,
    plot_parallel_coordinates,
)
from unet3d.sweep.report.results import print_results, read_results
from unet3d.sweep.search.population import Step, read_lineage
from unet3d.sweep.search.race import read_race
from unet3d.sweep.sweep_folder import SweepFolder, TrialRecord, at_top_rung, find_sweep
from unet3d.sweep.verdict.verdict import Verdict, verdict
from unet3d.tracking.connection import record_or_warn, short
from unet3d.tracking.sweep import log_report

log = logging.getLogger(__name__)
Plot = Callable[[Sequence[TrialRecord], Path], Path]

CURVES = ("Learning curves", "Dashed: pruned. The point is the best epoch of the best trial.")
COORDINATES = (
    "Parallel coordinates",
    "One line for each trial that has finished or was pruned (dashed); the thick one is the best. "
    "Lines through one category are spread a little by their val/dice.",
)
COST = (
    "Dice against device hours",
    "Left: red, the configurations that no other beats in both. Right: the best so far; dotted, a "
    "tenth, a third and all of the budget, or of what was used.",
)
FRONT = (
    "Pareto front of the two objectives",
    "Red: the trials that no other beats in both.",
)
POPULATION = (
    "Settings of the population",
    "By epoch, a line for each member; dotted: one continues from another. Red: the best trial.",
)
IMPORTANCE = (
    "Importance of the parameters",
    "From the finished trials alone; with few of them it says little.",
)
OVERLAYS = ("Overlays of the best trial", "Validation cases: image, truth and prediction.")


@dataclass(frozen=True)
class Findings:
    """What a report is about. trials: the best first; verdict: None before one has finished;
    lineage: of a population."""

    trials: list[TrialRecord]
    verdict: Verdict | None
    lineage: list[Step]


def read_findings(sweep: SweepFolder, output_dir: str) -> Findings:
    """What the sweep has found so far, from the files of all its trials and runs."""
    trials = read_results(sweep)
    found = verdict(at_top_rung(trials), output_dir, read_race(sweep.race))
    return Findings(trials, found, read_lineage(sweep.lineage))


def write_report(sweep: SweepFolder, output_dir: str, findings: Findings | None = None) -> Path:
    """Write index.html, its PNGs and the results in the report folder; returns the page's path.

    A sweep that is still running, or was killed, is reported as far as it has come. findings:
    where they have been read already.
    """
    findings = findings or read_findings(sweep, output_dir)
    records, folder, facts = findings.trials, sweep.report, sweep.facts()
    folder.mkdir(exist_ok=True)
    copy_overlays = partial(_copy_overlays, output_dir=output_dir)
    plots: list[tuple[str, Plot, str, str]] = [
        ("learning_curves", plot_learning_curves, *CURVES),
        ("parallel_coordinates", plot_parallel_coordinates, *COORDINATES),
        ("importance", plot_importance, *IMPORTANCE),
        ("cost", cost_plot(facts.budget or None), *COST),
        ("best_overlays", copy_overlays, *OVERLAYS),
    ]
    lineage = findings.lineage
    if lineage:
        plots.insert(0, ("population", lineage_plot(lineage), *POPULATION))
        write_lineage(lineage, records, folder)
    if facts.minimize != "none":
        plots.insert(0, ("front", front_plot(facts.minimize), *FRONT))
    pictures = [
        _draw(records, folder / f"{file}.png", plot, heading, caption)
        for file, plot, heading, caption in plots
    ]
    found = findings.verdict
    if found is not None:
        write_results(folder, found, records)
    name = facts.name or sweep.path.name
    said = (
        comparison(sweep),
        cost_sentence(records, facts.budget or None),
        memory_sentence(records),
        front_sentence(records, facts.minimize),
        lineage_sentence(lineage, records),
    )
    lines = [line for line in said if line]
    html = page(name, facts.command, records, pictures, lines, found, lineage)
    write_text(folder / "index.html", html)
    return folder / "index.html"


def _draw(
    records: Sequence[TrialRecord], path: Path, plot: Plot, heading: str, caption: str
) -> Picture:
    """Draw; where there is nothing to draw, the file of an earlier report is removed."""
    try:
        return Picture(heading, caption, plot(records, path))
    except LeftOut as left_out:
        reason = str(left_out)
    except Exception as error:  # a picture is no reason to lose the end of a sweep
        log.warning("report: %s could not be drawn (%s)", path.name, short(error))
        reason = f"it could not be drawn ({short(error)})."
    path.unlink(missing_ok=True)
    return Picture(heading, caption, path, reason)


def _copy_overlays(records: Sequence[TrialRecord], path: Path, output_dir: str) -> Path:
    """A copy of the best trial's overlays. Raises LeftOut where there are none."""
    if not records or best_of(records[0]) is None:
        raise LeftOut("no trial has a val/dice yet.")
    run_id = records[0].result.run_id
    source = run_folder(output_dir, run_id).validation_overlays
    if not run_id or not source.is_file():
        raise LeftOut(f"the best trial's run has no {source.parent.name}/{source.name} here.")
    temporary = path.with_name(f".{path.name}")
    shutil.copyfile(source, temporary)
    return temporary.replace(path)


def report_again(config: Config, name: str) -> Path:
    """Write the report of sweep `name`, print its table, and add it to the sweep's MLflow run.

    Raises RunError for a name that is not among the sweeps of output_dir.
    """
    sweep = find_sweep(config.output_dir, name)
    findings = read_findings(sweep, config.output_dir)
    path = write_report(sweep, config.output_dir, findings)
    run_id = sweep.facts().run_id
    if run_id:
        record_or_warn(log_report, config, run_id, path.parent)
    print_results(findings.trials)
    if findings.verdict is not None:
        print_verdict(findings.verdict)
    return path
