"""Where a process stands among the workers of a run."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from unet3d.distributed.job_folder import JobFolder


@dataclass(frozen=True)
class WorkerContext:
    """One of `workers` processes that train together; the defaults are those of a run alone.

    Worker 0 is the chief: it alone writes checkpoints and talks to MLflow. `job_folder` is that of
    a job over nodes or of a sweep's trial; a run alone has none.
    """

    rank: int = 0
    workers: int = 1
    hosts: tuple[str, ...] = ()  # of each worker
    threads: int | None = None  # CPU threads of this worker; None: as configured
    restarts: int = 0  # how often the workers were started again
    job_folder: JobFolder | None = None

    @property
    def chief(self) -> bool:
        """Whether this worker writes."""
        return self.rank == 0

    def announce_run(self, run_id: str) -> None:
        """Let the other processes of the job know which run this is."""
        if self.job_folder and self.chief:
            self.job_folder.announce_run(run_id)

    def wait_for_run(self) -> str:
        """The run that the chief announces. Raises TimeoutError as JobFolder does."""
        assert self.job_folder is not None
        return self.job_folder.wait_for_run()

    def announce_step(self, epoch: str, done: int, steps: int) -> None:
        """Let the process that started the workers know how far the chief's epoch is."""
        if self.job_folder and self.chief and self.workers > 1:
            self.job_folder.announce_step(epoch, done, steps)

    def record_epoch(self, record: dict[str, Any]) -> None:
        """Let the process that started the workers know of an epoch; of the chief's, once."""
        if self.job_folder and self.chief:
            self.job_folder.record_epoch(record)


SINGLE_WORKER = WorkerContext()
