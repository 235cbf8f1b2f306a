"""The constants of time that a forecast uses: given, of a machine, or fitted to runs that ended."""

from __future__ import annotations

import json
import logging
from collections.abc import Sequence
from pathlib import Path

from unet3d.errors import RunError
from unet3d.planning.fit_timing import fit
from unet3d.planning.timing import Timing, read_timing
from unet3d.sweep.sweep_folder import find_sweep
from unet3d.training.measured_run import measured_runs

log = logging.getLogger(__name__)
MOST_RUNS = 40  # the newest, to be read
CELLS = "cells"  # the folder of what a study has measured


def timing_for(given: str | None, runs: str | None, output_dir: str) -> Timing:
    """`given`, a file or the name of a machine; else fitted to `runs`, else to the newest.

    runs: ids as a,b,c, or the name of a sweep or a study. Raises ConfigError for a `given` that
    there is not, RunError where no run has finished an epoch.
    """
    if given is not None:
        return read_timing(given)
    ids = newest_runs(output_dir) if runs is None else _named_runs(runs, output_dir)
    return timing_of_runs(ids, "runs of " + (runs or output_dir), output_dir)


def timing_of_runs(ids: Sequence[str], name: str, output_dir: str) -> Timing:
    """Fitted to these runs. Raises RunError where none has finished an epoch."""
    try:
        return fit(measured_runs(output_dir, ids), name)
    except RunError as error:
        raise RunError(
            f"timing: nothing is measured in {output_dir} ({error}); train a run first, name one "
            "of another folder with output_dir=, or type timing=paper for the paper's machine"
        ) from error


def newest_runs(output_dir: str) -> list[str]:
    """The ids of the last runs that have begun in `output_dir`, the newest last."""
    folders = sorted((Path(output_dir) / "runs").glob("*"), key=lambda p: p.stat().st_mtime)
    return [folder.name for folder in folders[-MOST_RUNS:]]


def study_folder(output_dir: str, name: str) -> Path:
    """The folder of a scaling study."""
    return Path(output_dir) / "scaling" / name


def _named_runs(runs: str, output_dir: str) -> list[str]:
    parts = [part.strip() for part in runs.split(",")]
    if all((Path(output_dir) / "runs" / part).is_dir() for part in parts):
        return parts
    cells = sorted((study_folder(output_dir, runs) / CELLS).glob("*.json"))
    if cells:
        return [run for cell in cells for run in json.loads(cell.read_text()).get("runs", [])]
    return [t.result.run_id for t in find_sweep(output_dir, runs).trials() if t.result.run_id]
