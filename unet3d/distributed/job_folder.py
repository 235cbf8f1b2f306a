"""All that the processes of a job tell each other, as small files in a folder they all see."""

from __future__ import annotations

import json
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from unet3d.errors import FINAL_ERRORS, RunError, RunStopped, TrialRegrouped
from unet3d.files import read_text, remove_stale, temporary_folder, write_text

EARLY = "early"  # in place of a signal's number: the trial is pruned
POLL_SECONDS = 0.05


@dataclass(frozen=True)
class JobFolder:
    """The folder of a data-parallel job, or of a sweep's trial.

    Each file appears whole, except for the records of epochs, of which a line does.
    """

    path: Path

    @property
    def lock(self) -> Path:
        """Held by the process that trains, so that no two train the same trial."""
        return self.path / ".lock"

    def stderr(self, rank: int = 0) -> Path:
        """Where worker `rank` has what it writes to stderr, for others to read after its end."""
        return self.path / f"stderr-{rank}"

    def announce_run(self, run_id: str) -> None:
        """The chief says which run this is."""
        write_text(self.path / "run_id", run_id)

    def run_id(self) -> str | None:
        """The run of the job, None before the chief has announced one."""
        return read_text(self.path / "run_id")

    def wait_for_run(self, timeout: float = 600.0) -> str:
        """The run that the chief announces; TimeoutError after `timeout` seconds without one."""
        deadline = time.monotonic() + timeout
        while (run_id := self.run_id()) is None:
            if time.monotonic() > deadline:
                raise TimeoutError(
                    f"{self.path}: worker 0 has not announced a run within {timeout:.0f} s"
                )
            time.sleep(POLL_SECONDS)
        return run_id

    def ask_to_stop(self, signal_number: int) -> None:
        """Have the workers save and stop after their step, to be resumed later."""
        write_text(self.path / "stop", str(signal_number))

    def ask_to_prune(self) -> None:
        """Have the trial save and stop after its step, for good."""
        write_text(self.path / "stop", EARLY)

    def stop_signal(self) -> int | None:
        """The number of the signal that the workers shall stop for, None for none."""
        word = read_text(self.path / "stop")
        return int(word) if word and word != EARLY else None

    def pruned(self) -> bool:
        """Whether the trial shall stop for good."""
        return read_text(self.path / "stop") == EARLY

    def ask_to_regroup(self) -> None:
        """Have the trial stop at the end of its epoch, to go on with other devices."""
        write_text(self.path / "regroup", "")

    def withdraw_regroup(self) -> None:
        """The trial shall go on as it is, unless it has stopped already."""
        (self.path / "regroup").unlink(missing_ok=True)

    def regroup_asked(self) -> bool:
        """Whether the trial shall stop at the end of its epoch."""
        return (self.path / "regroup").exists()

    def record_devices(self, epoch: int, before: int, after: int) -> None:
        """Note that the trial goes on after `epoch` with other devices."""
        write_text(self.path / "grown", json.dumps([*self.regroupings(), (epoch, before, after)]))

    def regroupings(self) -> list[tuple[int, int, int]]:
        """(epoch, devices before, devices after) of each change, in order."""
        return [tuple(one) for one in json.loads(read_text(self.path / "grown") or "[]")]

    def report_error(self, error: BaseException) -> None:
        """Leave an error that the user can mend to the process that started the workers."""
        write_text(self.path / "error", json.dumps([type(error).__name__, str(error)]))

    def raise_error(self, exit_code: int) -> None:
        """Raise the error that a worker has reported, if any; one of an unknown type as RunError.

        exit_code: of RunStopped.
        """
        reported = read_text(self.path / "error")
        if reported is None:
            return
        name, message = json.loads(reported)
        if name == RunStopped.__name__:
            raise RunStopped(message, exit_code)
        if name == TrialRegrouped.__name__:
            raise TrialRegrouped(message, exit_code)
        raise next((known for known in FINAL_ERRORS if known.__name__ == name), RunError)(message)

    def announce_step(self, text: str, done: int, steps: int) -> None:
        """The chief says how far its epoch is; for a bar, so that a full disk is no matter."""
        with suppress(OSError):
            write_text(self.path / "step", json.dumps([text, done, steps]))

    def step(self) -> tuple[str, int, int] | None:
        """What `announce_step` said last."""
        found = read_text(self.path / "step")
        return tuple(json.loads(found)) if found else None

    def record_epoch(self, record: dict[str, Any]) -> None:
        """The chief adds the record of an epoch, {epoch, time, metrics}."""
        with (self.path / "epochs").open("ab+") as file:
            if file.tell():
                file.seek(-1, 2)
                if file.read(1) != b"\n":  # a kill cut the last line off
                    file.write(b"\n")
            file.write(json.dumps(record).encode() + b"\n")

    def epochs(self) -> list[dict[str, Any]]:
        """All epochs so far, as `new_epochs` has them."""
        return self.new_epochs(0)[0]

    def new_epochs(self, start: int) -> tuple[list[dict[str, Any]], int]:
        """The epochs recorded from byte `start` on, each once, in order; and where to read next.

        A line still being written is left for the next call. One that a kill cut off is left out;
        of an epoch that ran twice the later record counts.
        """
        try:
            with (self.path / "epochs").open("rb") as file:
                file.seek(start)
                data = file.read()
        except OSError:
            return [], start
        whole = data[: data.rfind(b"\n") + 1]
        return _latest_records(whole.splitlines()), start + len(whole)

    def clear_requests(self) -> None:
        """Forget what stopped a former attempt; the run and its epochs stay."""
        for name in ("stop", "error", "regroup"):
            (self.path / name).unlink(missing_ok=True)


def _latest_records(lines: Iterable[bytes]) -> list[dict[str, Any]]:
    records: dict[int, dict[str, Any]] = {}
    for line in lines:
        try:
            record = json.loads(line)
        except ValueError:
            continue
        records[record["epoch"]] = record
    return [records[epoch] for epoch in sorted(records)]


@contextmanager
def temporary_job_folder(output_dir: str | Path) -> Iterator[JobFolder]:
    """The folder of a job under `output_dir`, removed at the end; with those of killed jobs."""
    jobs = Path(output_dir) / ".jobs"
    remove_stale(jobs)
    with temporary_folder(jobs / "job") as path:
        yield JobFolder(path)
