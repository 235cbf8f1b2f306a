"""The report of a sweep, as it ends or anew: a page, and its pictures as files beside it."""

from __future__ import annotations

import logging
import shutil
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path

from unet3d.config import Config
from unet3d.data.atomic import write_text
from unet3d.sweep.folder import SweepFolder
from unet3d.sweep.page import Picture, page
from unet3d.sweep.parameters import LeftOut, best_of
from unet3d.sweep.plots import plot_importance, plot_learning_curves, plot_parallel_coordinates
from unet3d.sweep.results import Result, print_results, read_results
from unet3d.tracking.store import keep, short
from unet3d.tracking.sweep import log_report
from unet3d.training.errors import RunError

log = logging.getLogger(__name__)
Plot = Callable[[Sequence[Result], Path], Path]

CURVES = ("Learning curves", "Dashed: pruned. The point is the best epoch of the best trial.")
COORDINATES = (
    "Parallel coordinates",
    "A line a trial that has finished or was pruned (dashed); the thick one is the best of them. "
    "Lines through one category are spread a little by their val/dice.",
)
IMPORTANCE = (
    "Importance of the parameters",
    "From the finished trials alone; the fewer there are, the less it tells.",
)
OVERLAYS = ("Overlays of the best trial", "Validation cases: image, truth and prediction.")


def write_report(sweep: Path, output_dir: str) -> Path:
    """Write report/index.html and its PNGs in the sweep's folder; returns the page's path.

    A sweep that is still running, or was killed, is told as far as it has come.
    """
    results, folder = read_results(sweep), sweep / "report"
    folder.mkdir(exist_ok=True)
    copy_overlays = partial(_copy_overlays, runs=Path(output_dir) / "runs")
    pictures = [
        _draw(results, folder / f"{file}.png", plot, heading, caption)
        for file, plot, heading, caption in (
            ("learning_curves", plot_learning_curves, *CURVES),
            ("parallel_coordinates", plot_parallel_coordinates, *COORDINATES),
            ("importance", plot_importance, *IMPORTANCE),
            ("best_overlays", copy_overlays, *OVERLAYS),
        )
    ]
    facts = SweepFolder(sweep).read()
    html = page(facts.get("name") or sweep.name, facts.get("command", ""), results, pictures)
    write_text(folder / "index.html", html)
    return folder / "index.html"


def _draw(results: Sequence[Result], path: Path, plot: Plot, heading: str, caption: str) -> Picture:
    """Draw; an earlier report's file does not stay where there is nothing to draw now."""
    try:
        return Picture(heading, caption, plot(results, path))
    except LeftOut as left_out:
        reason = str(left_out)
    except Exception as error:  # a picture is no reason to lose the end of a sweep
        log.warning("report: %s could not be drawn (%s)", path.name, short(error))
        reason = f"it could not be drawn ({short(error)})."
    path.unlink(missing_ok=True)
    return Picture(heading, caption, path, reason)


def _copy_overlays(results: Sequence[Result], path: Path, runs: Path) -> Path:
    """A copy of the best trial's overlays. Raises LeftOut where there are none."""
    if not results or best_of(results[0]) is None:
        raise LeftOut("no trial has a val/dice yet.")
    run_id = results[0].ended.run_id
    source = runs / run_id / "figures" / "validation.png"
    if not run_id or not source.is_file():
        raise LeftOut("the best trial's run has no figures/validation.png here.")
    temporary = path.with_name(f".{path.name}")
    shutil.copyfile(source, temporary)
    return temporary.replace(path)


def report_again(config: Config, name: str) -> Path:
    """Write the report of sweep `name`, print its table, and add it to the sweep's MLflow run.

    Raises RunError for a name that is not among the sweeps of output_dir.
    """
    sweep = find_sweep(Path(config.output_dir) / "sweeps", name)
    path = write_report(sweep, config.output_dir)
    run_id = SweepFolder(sweep).read().get("run_id")
    if run_id:
        keep(log_report, config, run_id, path.parent)
    print_results(read_results(sweep))
    return path


def find_sweep(folder: Path, name: str) -> Path:
    """The sweep of that name in `folder`. Raises RunError that lists those there are."""
    names = sorted(path.parent.name for path in folder.glob("*/sweep.json"))
    if name in names:
        return folder / name
    told = f"sweep: {name} is not there" if name else "sweep is not set; type sweep=<name>"
    raise RunError(f"{told}; in {folder}: {', '.join(names) or 'no sweeps'}")
