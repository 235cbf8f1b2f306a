"""The forecast of a sweep that runs, made beside it: reading old runs and counting takes seconds.

In a process of its own, with little claim to the CPU, so that no trial starts later for it.
"""

from __future__ import annotations

import contextlib
import logging
import os
import signal
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from multiprocessing import get_context
from multiprocessing.connection import Connection
from typing import Any

from unet3d.sweep.forecast.forecast import forecast_lines
from unet3d.sweep.forecast.known_timing import newest_runs
from unet3d.sweep.plan import SweepPlan
from unet3d.sweep.resources import TrialResources
from unet3d.sweep.sweep_folder import SweepFolder
from unet3d.tracking.connection import short

log = logging.getLogger(__name__)
NICENESS = 10
LAST_SECONDS = 20.0  # that it may take after the sweep


@dataclass
class ForecastProcess:
    """Writes the sweep's forecast, and sends its first line."""

    process: Any
    answer: Connection

    def wait(self) -> None:
        """Give it LAST_SECONDS more, and log what it says where there is no forecast."""
        with contextlib.suppress(EOFError, OSError):
            if self.answer.poll(LAST_SECONDS) and (line := self.answer.recv()):
                log.info("%s", line)
        self.end()

    def end(self) -> None:
        """End it, and what it has started."""
        if self.process.is_alive():
            with contextlib.suppress(ProcessLookupError, PermissionError):
                os.killpg(self.process.pid, signal.SIGKILL)
            self.process.kill()
        self.process.join()


def start_forecast(
    plan: SweepPlan, resources: TrialResources, folder: SweepFolder
) -> ForecastProcess | None:
    """Begin to forecast a sweep; None, with a line that says so, where no run is known yet."""
    runs = newest_runs(plan.config.output_dir)
    if not runs:
        log.info("no forecast: nothing is measured in %s yet", plan.config.output_dir)
        return None
    context = get_context("spawn")
    answer, theirs = context.Pipe(duplex=False)
    lines = forecast_of(plan, resources, folder, runs)
    process = context.Process(target=_send_first, args=(lines, theirs))
    process.start()
    theirs.close()
    return ForecastProcess(process, answer)


def forecast_of(
    plan: SweepPlan, resources: TrialResources, folder: SweepFolder, runs: Sequence[str]
) -> Callable[[], list[str]]:
    """`forecast_lines` of a plan, with what another process can be sent of it. runs: as there."""
    configs = [trial.config for trial in plan.trials]
    grow = plan.config.sweep.grow
    return partial(forecast_lines, configs, plan.total, resources, folder, grow, runs)


def _send_first(lines: Callable[[], list[str]], answer: Connection) -> None:
    os.setsid()  # with what it starts, so that all of it can be ended
    os.nice(NICENESS)
    os.environ["CUDA_VISIBLE_DEVICES"] = "-1"
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stderr.fileno())  # where libraries write, too
    try:
        line = lines()[0]
    except Exception as error:  # no reason to disturb the sweep
        line = f"no forecast: {short(error)}"
    answer.send(line)
    answer.close()
