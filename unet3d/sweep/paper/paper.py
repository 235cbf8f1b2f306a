"""`unet3d report format=paper`: the comparison of a sweep as files that a paper can include."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from pathlib import Path

from unet3d.config.schema import Config
from unet3d.errors import RunError
from unet3d.files import write_text
from unet3d.run_folder import run_folder
from unet3d.sweep.paper.figures import (
    plot_cases,
    plot_critical_difference,
    plot_regions,
    save_figure,
)
from unet3d.sweep.paper.methods import methods_paragraph, settings_table
from unet3d.sweep.paper.references import bibtex
from unet3d.sweep.paper.tables import csv_table, latex_table
from unet3d.sweep.report.configuration_table import print_verdict
from unet3d.sweep.scores import ScoreTable, score_table
from unet3d.sweep.search.race import read_race
from unet3d.sweep.sweep_folder import SweepFolder, TrialRecord, at_top_rung, find_sweep
from unet3d.sweep.verdict.verdict import Verdict, verdict
from unet3d.training.case_scores import read_case_scores

log = logging.getLogger(__name__)


def paper_of(config: Config, name: str) -> Path:
    """Write what a paper needs of sweep `name`, and print its result; returns the folder.

    Raises RunError for a name that is not among the sweeps of output_dir, and without a trial.
    """
    sweep = find_sweep(config.output_dir, name)
    folder = write_paper(sweep, config.output_dir)
    if found := verdict(at_top_rung(sweep.trials()), config.output_dir, read_race(sweep.race)):
        print_verdict(found)
    return folder


def write_paper(sweep: SweepFolder, output_dir: str) -> Path:
    """Write tables (CSV, LaTeX), figures (PDF, SVG), methods and references; returns the folder.

    Raises RunError for a sweep in which no trial has finished.
    """
    trials, folder = at_top_rung(sweep.trials()), sweep.path / "paper"
    found = verdict(trials, output_dir, read_race(sweep.race))
    if found is None:
        raise RunError(f"sweep: none of the trials of {sweep.path.name} has finished")
    regions = _regions(found, output_dir, trials)
    write_text(folder / "comparison.csv", csv_table(found, regions))
    write_text(folder / "comparison.tex", latex_table(found, regions, sweep.path.name))
    best = run_folder(output_dir, found.rows[0].configuration.finished[0].result.run_id)
    paragraph, cited = methods_paragraph(found, best, sweep.path.name)
    write_text(folder / "methods.tex", paragraph)
    write_text(folder / "references.bib", bibtex(cited))
    write_text(folder / "settings.csv", settings_table(trials, output_dir))
    for name, draw in (
        ("critical_difference", lambda: plot_critical_difference(found)),
        ("regions", lambda: plot_regions(found, regions)),
        ("cases", lambda: plot_cases(found)),
    ):
        picture = draw()
        if isinstance(picture, str):
            for suffix in (".pdf", ".svg"):
                (folder / f"{name}{suffix}").unlink(missing_ok=True)
            log.info("paper: %s is left out: %s", name, picture)
        else:
            save_figure(picture, folder / name)
    return folder


def _regions(
    found: Verdict, output_dir: str, trials: Sequence[TrialRecord]
) -> dict[str, ScoreTable]:
    """The scores of each region, in the order of the verdict's own table; {} without cases."""
    if not found.table.by_case:
        return {}
    first = found.rows[0].configuration.finished[0]
    rows = read_case_scores(run_folder(output_dir, first.result.run_id).case_scores)
    columns = [key for key in next(iter(rows.values())) if key.startswith("dice_")]
    tables = {
        column.removeprefix("dice_"): score_table(trials, output_dir, column)
        for column in columns
        if column != "dice_background"
    }
    return {name: table for name, table in tables.items() if table.by_case}
