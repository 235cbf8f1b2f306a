"""The workers of a sweep: as many as fit, each ready before it is given a trial."""

from __future__ import annotations

import logging
import os
import threading
import time
from contextlib import suppress
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from unet3d.cluster.environment import worker_environment
from unet3d.cluster.failure import shown, worker_failure, worker_failure_reason
from unet3d.cluster.health import HealthWatch
from unet3d.cluster.local_ray import check_ray, start_ray_again
from unet3d.cluster.nodes import alive_nodes
from unet3d.cluster.versions import found_here
from unet3d.config.schema import Config
from unet3d.errors import FINAL_ERRORS, RunError
from unet3d.sweep.resources import TrialResources
from unet3d.sweep.trial_worker import AttemptOutcome, TrialJob, remote_worker

log = logging.getLogger(__name__)
MAX_FAILED_STARTS = 3  # in a row
PAUSE_SECONDS = 60.0  # after a failed start beside workers that work
LOOK_SECONDS = 5.0  # between two looks at the nodes
WAITING = 8  # workers that may wait for nodes, or as many as there are
START_SECONDS = 300.0  # without any worker, until the sweep fails


@dataclass
class Work:
    """A trial in a worker. slots: that a trial has which has grown; its worker has none."""

    actor: Any
    job: TrialJob
    health: HealthWatch
    slots: int = 0


@dataclass
class WorkerPool:
    """Ray actors: starting, then idle or working.

    Some of those that start may wait for a node that can take them. By these Ray's autoscaler knows
    that the sweep has use for another node; where a trial is a group of workers, by a placement
    group of one more trial.
    """

    config: Config
    resources: TrialResources
    local: bool  # whether the Ray cluster is this machine's
    options: dict[str, Any]  # of each actor, beside its resources
    starting: dict[Any, Any] = field(default_factory=dict)  # reference -> actor
    idle: list[Any] = field(default_factory=list)
    working: dict[Any, Work] = field(default_factory=dict)  # by reference of the outcome
    stop_asked: float | None = None  # when all trials were asked to stop
    failed_starts: int = 0
    paused_until: float = 0.0  # no worker starts before
    made: float = field(default_factory=time.monotonic)
    ready: float = field(default_factory=time.monotonic)  # when a worker was last available
    room: int = 0  # for trials, on the nodes that are there
    start_seconds: float = 0.0  # of the first worker, until it was ready
    lacking: bool = False  # whether trials that are groups of workers wait for more nodes
    demand: Any = None  # the placement group by which an autoscaler sees it
    look: threading.Thread | None = None  # at the nodes
    looked: float = field(default_factory=time.monotonic)

    def __post_init__(self) -> None:
        self.room = self.resources.at_once

    @property
    def capacity(self) -> int:
        """Trials that may run at once, each on one slot."""
        return min(self.room, self.config.parallel.trials_at_once or self.room)

    def keep(self, trials: int) -> None:
        """Have as many workers as are of use for `trials` that are not over; end those that idle.

        Also on nodes that have joined meanwhile. With all nodes at work, some more wait for others.
        """
        if self.stop_asked is not None:
            return
        self._look_at_nodes()
        grown = [work.slots for work in self.working.values() if work.slots]
        trials, room, working = (
            trials - len(grown),
            self.room - sum(grown),
            len(self.working) - len(grown),
        )
        most = min(trials, self.config.parallel.trials_at_once or trials)
        count = min(most, room)
        alone = self.resources.workers_per_trial == 1
        if not self.local and alone and working >= count:
            count = min(most, room + max(room, WAITING))
        self.lacking = not alone and working >= count and most > room
        has = len(self.starting) + len(self.idle) + working
        if has < count and time.monotonic() >= self.paused_until:
            self._start(count - has)
        for _ in range(has - (max(count, working) if grown else most)):
            self._end_one()

    def _look_at_nodes(self) -> None:
        """Now and then, in a thread: the question waits for a minute where the head is gone."""
        waiting = self.look is not None and self.look.is_alive()
        if self.local or waiting or time.monotonic() - self.looked < LOOK_SECONDS:
            return
        self.looked = time.monotonic()
        self.look = threading.Thread(target=self._count_room, name="nodes", daemon=True)
        self.look.start()

    def _count_room(self) -> None:
        with suppress(Exception):  # of Ray, whose end shows elsewhere
            room = self.resources.room(alive_nodes())
            if room > max(self.room, self.resources.at_once):
                log.info("parallel: there is room for %d trials at once now", room)
            self.room = room
            self._ask_for_nodes()

    def _ask_for_nodes(self) -> None:
        """Ask an autoscaler for the nodes of one more trial; no more once they are there."""
        from ray.util import placement_group, remove_placement_group

        if self.demand is not None and (not self.lacking or self.demand.wait(0)):
            remove_placement_group(self.demand)
            self.demand = None
        elif self.demand is None and self.lacking:
            self.demand = placement_group(self.resources.bundles, strategy="STRICT_SPREAD")

    def _start(self, count: int) -> None:
        accelerators = {k: v for k, v in os.environ.items() if k.startswith("RAY_ACCEL_")}
        environment = {**worker_environment(), **accelerators}
        here = None if self.local else found_here()
        for _ in range(count):
            actor = remote_worker(self.resources, self.options).remote(str(Path.cwd()), environment)
            self.starting[actor.prepare.remote(self.config, self.resources, here)] = actor

    def _end_one(self) -> None:
        """End a worker that has no trial: one that has not started, rather than one that has."""
        import ray

        if self.starting:
            ray.kill(self.starting.popitem()[1])
        elif self.idle:
            ray.kill(self.idle.pop())

    def start_again(self) -> None:
        """Start Ray again, with new workers. Raises RayLost where it is no use."""
        self.starting, self.idle, self.working, self.demand = {}, [], {}, None
        start_ray_again()
        self.failed_starts, self.ready = 0, time.monotonic()

    def submit(self, job: TrialJob) -> Any:
        """Give a trial to an idle worker; returns the reference of its outcome."""
        actor = self.idle.pop()
        reference = actor.run.remote(job)
        self.working[reference] = Work(actor, job, HealthWatch(job.config.parallel))
        return reference

    def submit_grown(self, job: TrialJob, slots: int) -> Any:
        """Start a group of workers, on slots that are free, for a trial; returns as `submit`."""
        group = replace(self.resources, workers_per_trial=job.config.nodes)
        actor = remote_worker(group, self.options).remote(str(Path.cwd()), worker_environment())
        reference = actor.run.remote(job)
        self.working[reference] = Work(actor, job, HealthWatch(job.config.parallel), slots)
        return reference

    def wait(self, seconds: float) -> list[tuple[Any, AttemptOutcome]]:
        """The attempts that have ended within `seconds`, also those whose worker was lost.

        Raises RunError where workers cannot start, and RayLost where Ray itself is gone.
        """
        import ray

        check_ray()
        self._check_waiting()
        references = [*self.starting, *self.working]
        if not references:
            time.sleep(seconds)
            return []
        ready, _ = ray.wait(references, num_returns=len(references), timeout=0)
        if not ready:
            ready, _ = ray.wait(references, timeout=seconds)
        outcomes = []
        for reference in ready:
            if reference in self.starting:
                self._started(reference)
            else:
                outcomes.append((reference, self._outcome(reference)))
        return outcomes + self._stuck()

    def _check_waiting(self) -> None:
        now = time.monotonic()
        patience = max(START_SECONDS, self.config.parallel.wait_for_nodes)
        if self.idle or self.working:
            self.ready = now
        elif now - self.ready > patience:
            raise RunError(
                f"parallel: no worker with {self.resources.describe()} has started in "
                f"{patience:.0f} s; `ray status` shows what is left of the cluster. The same "
                "command resumes the sweep"
            )

    def _started(self, reference: Any) -> None:
        import ray

        actor = self.starting.pop(reference)
        try:
            ray.get(reference)
            self.idle.append(actor)
            self.failed_starts = 0
            self.start_seconds = self.start_seconds or time.monotonic() - self.made
        except ray.exceptions.RayError as error:
            check_ray()
            ray.kill(actor)
            self._failed_start(error)

    def _failed_start(self, error: Exception) -> None:
        """A node where no worker can start ends a sweep only if there is no other one at work."""
        final = getattr(error, "cause", None)
        final = final if isinstance(final, FINAL_ERRORS) else None
        reason = str(final) if final else worker_failure_reason(error)
        if self.idle or self.working:
            self.paused_until = time.monotonic() + PAUSE_SECONDS
            log.warning("parallel: a worker does not start: %s", reason)
            return
        self.failed_starts += 1
        if final:
            raise final from error
        if self.failed_starts >= MAX_FAILED_STARTS:
            raise RunError(f"parallel: workers do not start ({reason})") from error

    def _outcome(self, reference: Any) -> AttemptOutcome:
        import ray

        work = self.working.pop(reference)
        try:
            outcome = ray.get(reference)
        except ray.exceptions.RayError as error:
            why = worker_failure(error)
            kind = "wrong" if why.final else "lost" if why.node_lost else "broken"
            output = shown(work.job.folder.stderr())
            outcome = AttemptOutcome(kind, 0.0, why.reason, reusable=False, output=output)
        if outcome.reusable and not work.slots:
            self.idle.append(work.actor)
        else:
            self._replace(work.actor)
        return outcome

    def _stuck(self) -> list[tuple[Any, AttemptOutcome]]:
        """The attempts whose worker does not answer, does not get on or does not stop; ended."""
        outcomes = []
        for reference, work in list(self.working.items()):
            reason = work.health.look({"of the trial": work.actor}, self.stop_asked)
            if reason:
                del self.working[reference]
                self._replace(work.actor)
                outcome = AttemptOutcome("broken", 0.0, reason, reusable=False)
                outcomes.append((reference, outcome))
        return outcomes

    def _replace(self, actor: Any) -> None:
        import ray

        check_ray()
        ray.kill(actor)
