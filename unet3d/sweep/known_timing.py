"""The constants of time that a forecast uses: given, of a machine, or fitted to runs that ended."""

from __future__ import annotations

import logging
from pathlib import Path

from unet3d.errors import RunError
from unet3d.planning.fit_timing import fit
from unet3d.planning.timing import Timing, read_timing
from unet3d.sweep.sweep_folder import find_sweep
from unet3d.training.measured_run import measured_runs

log = logging.getLogger(__name__)
MOST_RUNS = 40  # the newest, to be read


def timing_for(given: str | None, runs: str | None, output_dir: str) -> Timing:
    """`given`, a file or the name of a machine; else fitted to `runs`, else to the newest.

    runs: ids as a,b,c, or the name of a sweep. Raises ConfigError for a `given` that there is not,
    RunError where no run has finished an epoch.
    """
    if given is not None:
        return read_timing(given)
    ids = _ids(runs, output_dir)
    try:
        return fit(measured_runs(output_dir, ids), "runs of " + (runs or output_dir))
    except RunError as error:
        raise RunError(
            f"timing: nothing is measured in {output_dir} ({error}); train a run first, name one "
            "of another folder with output_dir=, or type timing=paper for the paper's machine"
        ) from error


def _ids(runs: str | None, output_dir: str) -> list[str]:
    if runs is None:
        folders = sorted((Path(output_dir) / "runs").glob("*"), key=lambda p: p.stat().st_mtime)
        return [folder.name for folder in folders[-MOST_RUNS:]]
    parts = [part.strip() for part in runs.split(",")]
    if all((Path(output_dir) / "runs" / part).is_dir() for part in parts):
        return parts
    return [t.result.run_id for t in find_sweep(output_dir, runs).trials() if t.result.run_id]
