"""Whether workers answer and get on: each is asked every second for the progress of its training.

docs/decisions/0005-data-parallel-jobs.md tells why an answer alone is not enough.
"""

from __future__ import annotations

import time
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from math import inf
from typing import Any

from unet3d.config.schema import ParallelConfig
from unet3d.distributed.progress import Progress, position, progress

ASK_SECONDS = 1.0
PAUSE_SECONDS = 10.0  # between two looks: this process was held up, not the workers
POSITION_SECONDS = 5.0  # for a stuck worker to say where it is


class WatchedActor:
    """What an actor of two threads answers while it trains."""

    def progress(self) -> Progress:
        """How far the training is."""
        return progress()

    def position(self) -> str:
        """The line that the training is in."""
        return position()


@dataclass
class _Seen:
    """What is known of a worker."""

    asked: float  # when it was asked last
    moved: float  # when it was seen to have got on
    answer: Any = None  # reference of the answer that is waited for
    progress: Progress = field(default_factory=Progress)


@dataclass
class HealthWatch:
    """Workers that train together, by rank or another key; look at it often."""

    limits: ParallelConfig
    seen: dict[Any, _Seen] = field(default_factory=dict)
    looked: float = field(default_factory=time.monotonic)

    def look(self, actors: Mapping[Any, Any], stop_asked: float | None = None) -> str | None:
        """Why they are lost, None where they are not; asks them what is to be asked.

        actors: those that have not ended. stop_asked: when they were asked to stop.
        """
        import ray

        now = time.monotonic()
        if now - self.looked > PAUSE_SECONDS:
            for one in self.seen.values():
                one.asked += now - self.looked
                one.moved += now - self.looked
        self.looked = now
        for key in actors:
            self.seen.setdefault(key, _Seen(now - ASK_SECONDS, now))
        waiting = [one.answer for one in self.seen.values() if one.answer is not None]
        ready = ray.wait(waiting, num_returns=len(waiting), timeout=0)[0] if waiting else []
        for key, actor in actors.items():
            one = self.seen[key]
            if one.answer in ready:
                self._take(one, now)
            if one.answer is None and now - one.asked >= ASK_SECONDS:
                one.asked, one.answer = now, actor.progress.remote()
            elif one.answer is not None and now - one.asked > self.limits.hang_timeout:
                return f"worker {key} does not answer"
        return self._stuck(actors, now, stop_asked)

    def steps(self) -> int:
        """Steps that were seen to end."""
        return max((one.progress.steps for one in self.seen.values()), default=0)

    def silent(self, keys: Iterable[Any], seconds: float) -> list[Any]:
        """Those that have not answered for so long."""
        now = time.monotonic()
        waited = {key: self.seen[key] for key in keys if key in self.seen}
        return [k for k, one in waited.items() if one.answer and now - one.asked > seconds]

    def _take(self, one: _Seen, now: float) -> None:
        import ray

        try:
            found = ray.get(one.answer)
        except ray.exceptions.RayError:  # its end shows elsewhere, with the reason
            one.answer = None
            return
        one.answer = None
        if found != one.progress:
            one.progress, one.moved = found, now

    def _stuck(self, actors: Mapping[Any, Any], now: float, stop_asked: float | None) -> str | None:
        """As `look`: those that wait for a slower one are not stuck before that one is."""
        for key in actors:
            one = self.seen[key]
            allowed = one.progress.allowed(self.limits.step_timeout or inf)
            over = now - one.moved > allowed
            if stop_asked is not None:
                over |= now - max(one.moved, stop_asked) > self.limits.stop_timeout
            if not over:
                return None
        if not actors:
            return None
        least = min(self.seen[key].progress.stage for key in actors)
        last = [key for key in actors if self.seen[key].progress.stage == least]
        return _places(
            self.seen[last[0]].progress.phase, _positions_of({k: actors[k] for k in last})
        )


def _places(phase: str, positions: Mapping[Any, str]) -> str:
    """Which worker is stuck where. positions: of those that have come least far, by key.

    Where they are at several places, all but one may wait for it: the rarest place comes first.
    """
    at: dict[str, list[Any]] = {}
    for key, where in positions.items():
        at.setdefault(where, []).append(key)
    (where, keys), *others = sorted(at.items(), key=lambda one: len(one[1]))
    text = f"worker {keys[0]} is stuck in {phase}" + (f", at {where}" if where else "")
    for where, keys in others:
        who = f"worker {keys[0]} is" if len(keys) == 1 else f"{len(keys)} others are"
        text += f"; {who} at {where or 'an unknown place'}"
    return text


def _positions_of(actors: Mapping[Any, Any]) -> dict[Any, str]:
    """The line that each is in; "" for one that does not tell in time."""
    import ray

    asked = {key: actor.position.remote() for key, actor in actors.items()}
    ready = set(ray.wait([*asked.values()], num_returns=len(asked), timeout=POSITION_SECONDS)[0])
    return {key: _answer(answer) if answer in ready else "" for key, answer in asked.items()}


def _answer(position: Any) -> str:
    import ray

    try:
        return str(ray.get(position))
    except ray.exceptions.RayError:
        return ""
