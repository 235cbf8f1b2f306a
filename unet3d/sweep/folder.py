"""What a sweep keeps on disk: outputs/sweeps/<name>, one folder a trial, so that it can go on."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from unet3d.config import Config
from unet3d.data.atomic import write_text
from unet3d.parallel.place import EPOCHS, read_word
from unet3d.sweep.trial import Ended, Trial
from unet3d.training.errors import RunError


def sweep_folder(config: Config, name: str) -> Path:
    """Where a sweep of that name is kept."""
    return Path(config.output_dir) / "sweeps" / name


@dataclass(frozen=True)
class SweepFolder:
    """Records that appear whole, and stay when the sweep's process is killed."""

    path: Path

    def trial(self, trial: Trial) -> Path:
        """The folder that the trial's worker and the sweep's process leave each other word in."""
        return self.path / "trials" / trial.key

    def open(self, trial: Trial) -> Path:
        """The trial's folder, made ready for an attempt."""
        folder = self.trial(trial)
        folder.mkdir(parents=True, exist_ok=True)
        for word in ("stop", "error", "ended.json"):
            (folder / word).unlink(missing_ok=True)
        described = {
            "number": trial.number,
            "name": trial.name,
            "differs": trial.differs,
            "command": trial.command,
        }
        write_text(folder / "trial.json", json.dumps(described, indent=1))
        return folder

    def close(self, trial: Trial, ended: Ended) -> None:
        """Keep how the trial ended."""
        write_text(self.trial(trial) / "ended.json", json.dumps(asdict(ended), indent=1))

    def ended(self, trial: Trial) -> Ended | None:
        """How the trial ended, in this or an earlier command; None if it has not."""
        return read_ended(self.trial(trial))

    def run_id(self, trial: Trial) -> str | None:
        """The run of the trial, once it has one."""
        return read_word(self.trial(trial) / "run_id")

    def epochs(self, trial: Trial) -> list[dict[str, Any]]:
        """The records of the trial's epochs so far."""
        return read_epochs(self.trial(trial))

    def epochs_size(self, trial: Trial) -> int:
        """Bytes of those records, by which growth is seen without reading them."""
        path = self.trial(trial) / EPOCHS
        return path.stat().st_size if path.exists() else 0

    def ask_to_stop(self, trial: Trial, word: str) -> None:
        """Have the trial save and stop after its step; word: a signal's number, or early."""
        write_text(self.trial(trial) / "stop", word)

    def read(self) -> dict[str, Any]:
        """What `write` has kept."""
        return json.loads(read_word(self.path / "sweep.json") or "{}")

    def write(self, **kept: Any) -> None:
        """Keep facts about the sweep beside those that are there."""
        write_text(self.path / "sweep.json", json.dumps({**self.read(), **kept}, indent=1))

    @contextmanager
    def held(self) -> Iterator[None]:
        """No other process runs this sweep meanwhile. Raises RunError where one does."""
        from filelock import FileLock, Timeout

        self.path.mkdir(parents=True, exist_ok=True)
        lock = FileLock(self.path / ".lock")
        try:
            lock.acquire(timeout=0)
        except Timeout:
            raise RunError(
                f"sweep.name: {self.path.name} is running already, in another process; wait for "
                "it, or choose another sweep.name"
            ) from None
        try:
            yield
        finally:
            lock.release()


def read_ended(folder: Path) -> Ended | None:
    """How the trial in `folder` ended; None if it has not."""
    word = read_word(folder / "ended.json")
    return Ended.of(json.loads(word)) if word else None


def read_epochs(folder: Path) -> list[dict[str, Any]]:
    """The epochs of the trial in `folder`, each once, in order.

    A line that a kill cut off is left out; of an epoch that ran twice the later record counts.
    """
    records: dict[int, dict[str, Any]] = {}
    for line in (read_word(folder / EPOCHS) or "").splitlines():
        try:
            record = json.loads(line)
        except ValueError:
            continue
        records[record["epoch"]] = record
    return [records[epoch] for epoch in sorted(records)]


def best_epoch(records: list[dict[str, Any]]) -> tuple[float | None, int]:
    """The highest val/dice and its epoch."""
    validated = [
        (r["metrics"]["val/dice"], r["epoch"]) for r in records if "val/dice" in r["metrics"]
    ]
    if not validated:
        return None, 0
    return max(validated, key=lambda pair: (pair[0], -pair[1]))
