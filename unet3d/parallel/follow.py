"""The folder through which the processes of a job leave each other word, and the chief's log."""

from __future__ import annotations

import shutil
import threading
import time
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from unet3d.config import Config
from unet3d.parallel.place import read_word


@contextmanager
def job_folder(config: Config) -> Iterator[Path]:
    """A folder under output_dir for the words that workers leave each other; gone at the end."""
    folder = Path(config.output_dir) / ".jobs" / uuid.uuid4().hex
    folder.mkdir(parents=True)
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


@contextmanager
def follow(config: Config, folder: Path) -> Iterator[None]:
    """Print what the chief writes to the run's train.log, as a run alone would."""
    from unet3d.tracking.run import run_folder

    over = threading.Event()

    def tail() -> None:
        path, position = None, 0
        while True:
            last = over.is_set()
            run_id = read_word(folder / "run_id") if path is None else None
            if run_id:
                path = run_folder(config, run_id) / "train.log"
                position = path.stat().st_size if config.resume and path.exists() else 0
            if path and path.exists():
                with path.open() as file:
                    file.seek(position)
                    for line in file:
                        _date, clock, _level, message = [*line.rstrip("\n").split(" ", 3), "", ""][
                            :4
                        ]
                        print(clock[:8], message, flush=True)
                    position = file.tell()
            if last:
                return
            time.sleep(0.2)

    thread = threading.Thread(target=tail, name="follow", daemon=True)
    thread.start()
    try:
        yield
    finally:
        over.set()
        thread.join(5)
