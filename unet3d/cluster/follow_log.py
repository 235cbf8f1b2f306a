"""The chief's log, and how far its epoch is, on the terminal of the process that started it."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager

from unet3d.config.schema import Config
from unet3d.distributed.job_folder import JobFolder
from unet3d.progress_bars import StepBar
from unet3d.run_folder import run_folder

POLL_SECONDS = 0.2


@contextmanager
def print_chief_log(config: Config, folder: JobFolder) -> Iterator[None]:
    """Print what the chief writes to the run's log, as a run alone would."""
    over = threading.Event()
    former = run_folder(config.output_dir, config.resume).log if config.resume else None
    said = former.stat().st_size if former and former.exists() else 0  # before this command

    def print_new_lines() -> None:
        with StepBar() as bar:
            follow(bar)

    def follow(bar: StepBar) -> None:
        path, position = None, said
        while True:
            last = over.is_set()
            run_id = folder.run_id() if path is None else None
            if run_id:
                path = run_folder(config.output_dir, run_id).log
                position = said
            if path and path.exists():
                with path.open() as file:
                    file.seek(position)
                    for line in file:
                        if bar.console.is_terminal:  # above the bar
                            text = _without_date(line)
                            bar.console.print(text, markup=False, highlight=False, soft_wrap=True)
                        else:
                            print(_without_date(line), flush=True)
                    position = file.tell()
            if bar.console.is_terminal and (step := folder.step()):
                bar.show(*step)
            if last:
                return
            time.sleep(POLL_SECONDS)

    thread = threading.Thread(target=print_new_lines, name="chief log", daemon=True)
    thread.start()
    try:
        yield
    finally:
        over.set()
        thread.join(5)


def _without_date(line: str) -> str:
    """A line of train.log, "date time level message", as the console shows it."""
    _date, clock, _level, message = [*line.rstrip("\n").split(" ", 3), "", ""][:4]
    return f"{clock[:8]} {message}"
