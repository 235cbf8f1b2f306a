"""The workers of a sweep: as many as fit, each ready before it is given a trial."""

from __future__ import annotations

import logging
import os
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from unet3d.parallel.lost import told
from unet3d.sweep.share import Share
from unet3d.sweep.worker import Report, Task, remote_worker
from unet3d.training.errors import RunError

log = logging.getLogger(__name__)
MAX_FAILED_STARTS = 3  # in a row
START_SECONDS = 300.0  # without any worker, after which a cluster is given up


@dataclass
class Pool:
    """Ray actors: starting, then idle or at work."""

    share: Share
    options: dict[str, Any]  # of each actor, beside its share
    starting: dict[Any, Any] = field(default_factory=dict)  # reference -> actor
    idle: list[Any] = field(default_factory=list)
    working: dict[Any, Any] = field(default_factory=dict)  # reference -> actor
    failed_starts: int = 0
    ready: float = field(default_factory=time.monotonic)  # when there was a worker last

    def start(self, count: int) -> None:
        """Begin with another `count` workers."""
        kept = ("MLFLOW_", "TF_", "RAY_ACCEL_")
        environment = {k: v for k, v in os.environ.items() if k.startswith(kept)}
        if self.share.gang == 1 and not self.share.gpus:
            environment["CUDA_VISIBLE_DEVICES"] = ""  # Ray hides no GPU from who asks for none
        for _ in range(count):
            actor = remote_worker(self.share, self.options).remote(str(Path.cwd()), environment)
            self.starting[actor.prepare.remote(self.share.gang > 1)] = actor

    def submit(self, task: Task) -> Any:
        """Give a task to an idle worker; returns the reference of its report."""
        actor = self.idle.pop()
        reference = actor.run.remote(task)
        self.working[reference] = actor
        return reference

    def wait(self, seconds: float) -> list[tuple[Any, Report]]:
        """The reports that came, a worker that was lost among them, in at most `seconds`.

        Raises RunError where workers do not even start.
        """
        import ray

        self._check_waiting()
        references = [*self.starting, *self.working]
        ready, _ = ray.wait(references, num_returns=len(references), timeout=0)
        if not ready:
            ready, _ = ray.wait(references, timeout=seconds)
        reports = []
        for reference in ready:
            if reference in self.starting:
                self._started(reference)
            else:
                reports.append((reference, self._report(reference)))
        return reports

    def _check_waiting(self) -> None:
        now = time.monotonic()
        if self.idle or self.working:
            self.ready = now
        elif now - self.ready > START_SECONDS:
            raise RunError(
                f"parallel: no worker with {self.share.told()} has started in {START_SECONDS:.0f} "
                "s; `ray status` shows what is left of the cluster. The same command goes on"
            )

    def _started(self, reference: Any) -> None:
        import ray

        actor = self.starting.pop(reference)
        try:
            ray.get(reference)
            self.idle.append(actor)
            self.failed_starts = 0
        except ray.exceptions.RayError as error:
            self.failed_starts += 1
            if self.failed_starts >= MAX_FAILED_STARTS:
                raise RunError(f"parallel: workers do not start ({told(error)})") from error
            self.start(1)

    def _report(self, reference: Any) -> Report:
        import ray

        actor = self.working.pop(reference)
        try:
            report = ray.get(reference)
        except ray.exceptions.RayError as error:
            report = Report("broken", 0.0, told(error), reusable=False)
        if report.reusable:
            self.idle.append(actor)
        else:
            ray.kill(actor)
            self.start(1)
        return report
