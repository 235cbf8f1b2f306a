"""One part of a study: its sweep, in a process of its own, timed from its command to its end."""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Sequence
from itertools import chain, count
from pathlib import Path

from unet3d.config.schema import Config
from unet3d.errors import RunError
from unet3d.files import read_text
from unet3d.scaling.cells import Cell
from unet3d.scaling.progress import StudyProgress
from unet3d.scaling.study_report import CellResult
from unet3d.sweep.sweep_folder import RESULT, SweepFolder, sweep_folder
from unet3d.tracking import guardian
from unet3d.training.measured_run import measured_runs
from unet3d.training.run_times import PARTS

SWEEP = ("-m", "unet3d.cli", "sweep")  # of Python, where this package is, from a wheel as well
LOOK_SECONDS = 1.0  # between two looks at how far the sweep is


def measure(
    cell: Cell, config: Config, overrides: Sequence[str], folder: Path, progress: StudyProgress
) -> CellResult:
    """Run a cell's sweep. One that was begun by a killed command is measured under another name.

    folder: of the study. Raises RunError where the sweep fails.
    """
    name = f"{folder.name}-{cell.name}"
    names = chain([name], (f"{name}-{number}" for number in count(2)))
    folders = (sweep_folder(config.output_dir, one) for one in names)
    sweep = next(one for one in folders if not one.path.exists())
    command = [
        *(sys.executable, guardian.__file__, sys.executable, *SWEEP, "-m"),
        *overrides,
        f"sweep.name={sweep.path.name}",
    ]
    progress.begin(cell)
    start = time.monotonic()
    with (
        open(folder / f"{cell.name}.log", "w") as output,
        # The guardian ends the sweep once this pipe closes, as where this process is killed:
        # the sweep would go on beside that of the next command.
        subprocess.Popen(command, stdin=subprocess.PIPE, stdout=output, stderr=output) as process,
    ):
        code = _wait(process, cell, sweep, progress)
    seconds = time.monotonic() - start
    if code:
        lines = (read_text(folder / f"{cell.name}.log") or "").strip().splitlines()
        last = lines[-1].removeprefix("error: ") if lines else code
        raise RunError(f"scaling: {cell.name} failed: {last}")
    progress.end(cell, seconds)
    return _result(cell, sweep, seconds, config.output_dir)


def _wait(
    process: subprocess.Popen[bytes], cell: Cell, sweep: SweepFolder, progress: StudyProgress
) -> int:
    """Until the sweep ends, showing how many of its trials have; returns its exit code."""
    while True:
        try:
            return process.wait(LOOK_SECONDS)
        except subprocess.TimeoutExpired:
            progress.refresh(cell, len(list(sweep.path.glob(f"trials/*/{RESULT}"))))


def _result(cell: Cell, sweep: SweepFolder, seconds: float, output_dir: str) -> CellResult:
    runs = measured_runs(output_dir, [trial.result.run_id for trial in sweep.trials()])
    parts = {part: sum(run.part(part) for run in runs) for part in PARTS}
    patches = sum(run.epochs * run.cost.steps * run.cost.batch for run in runs)
    return CellResult(
        cell.mode,
        cell.devices,
        cell.repeat,
        seconds,
        len(runs),
        patches / seconds,
        parts,
        tuple(run.id for run in runs),
    )
